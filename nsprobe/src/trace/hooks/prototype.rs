//! Checks the prototypes that the programs rely on against those of the kernel, before anything is attached.
//!
//! Registers have no types. A program on a function that has changed would read wrong data from them, unnoticed.

use crate::kernel::btf::{Prototype, Shape};
use crate::kernel::probe::Point;
use crate::trace::calls::{CALLS, Expected};
use Expected::{Context, Integer, Pointer};

impl Expected {
    fn fits(self, found: &Shape) -> bool {
        match (self, found) {
            (Pointer(expected), Shape::Pointer(found)) => expected == found,
            (Integer(expected), Shape::Integer(found)) => expected == *found,
            (Context, Shape::OtherPointer) => true,
            _ => false,
        }
    }

    fn shape(self) -> Shape {
        match self {
            Pointer(name) => Shape::Pointer(name.to_owned()),
            Integer(bytes) => Shape::Integer(bytes),
            Context => Shape::OtherPointer,
        }
    }
}

/// The expected parameters of a function, and its result, if it is read.
type Signature = (&'static [Expected], Option<Expected>);

/// The expected prototypes of the functions that are not behind one call: all parameters, because the result follows the
/// last.
const FUNCTIONS: &[(&str, Signature)] = &[
    ("security_sb_pivotroot", (&[Pointer("path"), Pointer("path")], None)),
    ("proc_free_inum", (&[Integer(4)], None)),
    ("uprobe_copy_process", (&[Pointer("task_struct"), Integer(8)], None)),
    ("exit_fs", (&[Pointer("task_struct")], None)),
];

fn signature(name: &str) -> Option<Signature> {
    let of_calls = CALLS
        .iter()
        .flat_map(|spec| spec.functions)
        .find(|function| function.name == name || function.compat.is_some_and(|compat| compat.name == name));
    let of_call = of_calls.map(|function| (function.parameters, Some(function.result)));
    of_call.or_else(|| FUNCTIONS.iter().find(|(function, _)| *function == name).map(|&(_, found)| found))
}

/// The same for the raw tracepoints: the first parameters, which are read.
const TRACEPOINTS: &[(&str, &[Expected])] = &[
    ("task_newtask", &[Context, Pointer("task_struct"), Integer(8)]),
    ("sched_process_exit", &[Context, Pointer("task_struct")]),
];

/// The difference between the expectation and the kernel at `point`, in words; `None` if there is none.
#[must_use]
pub fn mismatch(point: Point, found: &Prototype) -> Option<String> {
    let (name, expected, result, exact) = match point {
        Point::Fentry(name) | Point::Fexit(name) | Point::Fprobe(name) | Point::FprobeReturn(name) => {
            let (parameters, result) = signature(name)?;
            (name, parameters, result, true)
        }
        Point::TpBtf(name) => {
            let (_, parameters) = TRACEPOINTS.iter().find(|(tracepoint, _)| *tracepoint == name)?;
            (name, *parameters, None, false)
        }
        Point::Syscall(_) | Point::EverySyscall(_) => return None,
    };
    // The context is not a parameter of the tracepoint itself.
    let own = usize::from(expected.first() == Some(&Context));
    let (has, needs) = (found.parameters.len().saturating_sub(own), expected.len() - own);
    if has < needs || exact && has != needs {
        let plural = if has == 1 { "" } else { "s" };
        let were = if needs == 1 { "was" } else { "were" };
        return Some(format!("{name} has {has} parameter{plural} here, {needs} {were} expected"));
    }
    for (index, (expected, found)) in expected.iter().zip(&found.parameters).enumerate() {
        if !expected.fits(found) {
            let number = index + 1 - own;
            let expected = expected.shape();
            return Some(format!("parameter {number} of {name} is {found} here, {expected} was expected"));
        }
    }
    let expected = result.filter(|expected| !expected.fits(&found.result))?.shape();
    Some(format!("{name} returns {} here, {expected} was expected", found.result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::{self, Wanted};
    use crate::trace::hooks::{Call, Plan, compat, groups, namespace_ends};

    fn pointer(name: &str) -> Shape {
        Shape::Pointer(name.to_owned())
    }

    #[test]
    fn function_with_an_unexpected_prototype_is_refused() {
        let says = |parameters: &[Shape], result: Shape| {
            mismatch(Point::Fexit("ksys_unshare"), &Prototype { parameters: parameters.to_vec(), result })
        };
        let long = Shape::Integer(8);
        assert_eq!(says(std::slice::from_ref(&long), Shape::Integer(4)), None);
        assert_eq!(
            says(&[long.clone(), long.clone()], Shape::Integer(4)).as_deref(),
            Some("ksys_unshare has 2 parameters here, 1 was expected")
        );
        assert_eq!(
            says(&[pointer("pt_regs")], Shape::Integer(4)).as_deref(),
            Some(
                "parameter 1 of ksys_unshare is a pointer to struct pt_regs here, an integer of 8 bytes was expected"
            )
        );
        assert_eq!(
            says(&[long], Shape::Void).as_deref(),
            Some("ksys_unshare returns nothing here, an integer of 4 bytes was expected")
        );
    }

    #[test]
    fn tracepoint_may_have_more_parameters() {
        let says = |parameters: &[Shape]| {
            let found = Prototype { parameters: parameters.to_vec(), result: Shape::Void };
            mismatch(Point::TpBtf("sched_process_exit"), &found)
        };
        let (context, task) = (Shape::OtherPointer, pointer("task_struct"));
        assert_eq!(says(&[context.clone(), task.clone()]), None);
        assert_eq!(says(&[context.clone(), task, Shape::Integer(1)]), None);
        let none = "sched_process_exit has 0 parameters here, 1 was expected";
        assert_eq!(says(std::slice::from_ref(&context)).as_deref(), Some(none));
        let other = "parameter 1 of sched_process_exit is an integer of 8 bytes here, a pointer to struct task_struct \
                     was expected";
        assert_eq!(says(&[context, Shape::Integer(8)]).as_deref(), Some(other));
    }

    /// Every hook of every plan, on the running kernel. A hook that the kernel lacks is refused when it is attached.
    #[test]
    fn running_kernel_has_the_expected_prototypes() {
        let Ok(kernel) = std::fs::read(btf::PATH) else {
            return eprintln!("SKIPPED: no {}", btf::PATH);
        };
        let plans = Plan::OF_PROBE;
        let groups =
            |plan| [groups(plan, &Call::ALL, true), compat(plan, &Call::ALL), namespace_ends(plan)].concat();
        let points = plans.into_iter().flat_map(groups).flat_map(|group| group.hooks).map(|hook| hook.point);
        let mut known = 0;
        for point in points {
            let (name, functions, typedefs) = match point {
                Point::Fentry(name)
                | Point::Fexit(name)
                | Point::Fprobe(name)
                | Point::FprobeReturn(name) => (name.to_owned(), true, false),
                Point::TpBtf(name) => (format!("btf_trace_{name}"), false, true),
                Point::Syscall(_) | Point::EverySyscall(_) => continue,
            };
            let names = [name.as_str()];
            let list = |wanted: bool| if wanted { &names[..] } else { &[] };
            let wanted = Wanted { fields: &[], functions: list(functions), typedefs: list(typedefs) };
            let found = btf::find(&kernel, &wanted).expect("readable BTF");
            let is_listed = signature(&name).is_some()
                || TRACEPOINTS.iter().any(|(tracepoint, _)| name.ends_with(tracepoint));
            assert!(is_listed, "nothing is expected of {name}");
            match found.prototypes.get(&name) {
                // A kernel may have no 32-bit entries.
                None => assert!(name.starts_with("__ia32_"), "{name} is not there"),
                Some(prototype) => {
                    assert_eq!(mismatch(point, prototype), None);
                    known += 1;
                }
            }
        }
        assert!(known > 10, "{known}");
    }
}
