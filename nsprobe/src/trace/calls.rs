//! The table of traced calls: for each its name, the kernel functions and tracepoints that show it, and what the programs
//! there rely on. The hooks of every source, the checks of prototypes and the values of `--event` come from it.

use nsprobe_ebpf::Field;

/// A traced call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// clone(2), clone3(2), fork(2), vfork(2).
    Clone,
    /// unshare(2).
    Unshare,
    /// setns(2).
    Setns,
    /// chroot(2).
    Chroot,
    /// pivot_root(2).
    PivotRoot,
}

/// The entry of a call in the table.
#[derive(Debug)]
pub struct CallSpec {
    /// The call.
    pub call: Call,
    /// The name of its events in every output, and the value of `--event`.
    pub name: &'static str,
    /// The kernel functions that it runs.
    pub functions: &'static [Function],
    /// Its tracepoints, in groups that are useful only together.
    pub tracepoints: &'static [&'static [Tracepoint]],
}

/// A kernel function behind a call.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The programs of fexit and fentry. (Fprobes have the same two programs for all functions.)
    pub programs: Programs,
    /// Kernel struct fields that the programs require.
    pub fields: &'static [Field],
    /// All parameters.
    pub parameters: &'static [Expected],
    /// The result.
    pub result: Expected,
    /// The function behind the same call of a 32-bit process, if it is a different one.
    pub compat: Option<CompatFunction>,
}

/// The programs at the return and entry of a function or system call.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// At its return.
    pub exit: &'static str,
    /// At its entry, if that is needed.
    pub entry: Option<&'static str>,
}

/// The kernel function behind a 32-bit call, with the same prototype as that of the 64-bit one.
#[derive(Clone, Copy, Debug)]
pub struct CompatFunction {
    /// Its name.
    pub name: &'static str,
    /// The programs of fexit and fentry.
    pub programs: Programs,
}

/// The tracepoints of a system call.
#[derive(Debug)]
pub struct Tracepoint {
    /// At its return and entry.
    pub points: [&'static str; 2],
    /// The programs there.
    pub programs: Programs,
}

/// The expected type of a parameter or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A pointer to this struct.
    Pointer(&'static str),
    /// An integer of this many bytes.
    Integer(u32),
    /// The pointer with which a raw tracepoint was registered.
    Context,
}

use Expected::{Integer, Pointer};

const REGISTERS: &[Field] = &[Field::PtRegsFirst, Field::PtRegsSecond];

const fn both(exit: &'static str, entry: &'static str) -> Programs {
    Programs { exit, entry: Some(entry) }
}

/// A function that takes the arguments of a system call as registers.
const fn of_registers(name: &'static str, programs: Programs, compat: CompatFunction) -> Function {
    Function {
        name,
        programs,
        fields: REGISTERS,
        parameters: &[Pointer("pt_regs")],
        result: Integer(8),
        compat: Some(compat),
    }
}

/// The table, in the order of [`Call`].
pub static CALLS: [CallSpec; 5] = [
    CallSpec {
        call: Call::Clone,
        name: "clone",
        functions: &[
            Function {
                name: "kernel_clone",
                programs: Programs { exit: "fexit_clone", entry: None },
                fields: &[Field::KernelCloneFlags],
                parameters: &[Pointer("kernel_clone_args")],
                result: Integer(4),
                compat: None,
            },
            of_registers(
                "__x64_sys_clone3",
                both("fexit_clone3", "fentry_clone3"),
                CompatFunction {
                    name: "__ia32_sys_clone3",
                    programs: both("fexit_clone3_32", "fentry_clone3_32"),
                },
            ),
        ],
        tracepoints: &[
            // Only together do these show what the function behind them does.
            &[
                Tracepoint {
                    points: ["sys_exit_clone", "sys_enter_clone"],
                    programs: both("exit_clone", "enter_clone"),
                },
                Tracepoint {
                    points: ["sys_exit_fork", "sys_enter_fork"],
                    programs: both("exit_clone", "enter_fork"),
                },
                Tracepoint {
                    points: ["sys_exit_vfork", "sys_enter_vfork"],
                    programs: both("exit_clone", "enter_vfork"),
                },
            ],
            &[Tracepoint {
                points: ["sys_exit_clone3", "sys_enter_clone3"],
                programs: both("exit_clone", "enter_clone3"),
            }],
        ],
    },
    CallSpec {
        call: Call::Unshare,
        name: "unshare",
        functions: &[Function {
            name: "ksys_unshare",
            programs: both("fexit_unshare", "fentry_unshare"),
            fields: &[],
            parameters: &[Integer(8)],
            result: Integer(4),
            compat: None,
        }],
        tracepoints: &[&[Tracepoint {
            points: ["sys_exit_unshare", "sys_enter_unshare"],
            programs: both("exit_call", "enter_unshare"),
        }]],
    },
    CallSpec {
        call: Call::Setns,
        name: "setns",
        functions: &[of_registers(
            "__x64_sys_setns",
            both("fexit_setns", "fentry_setns"),
            CompatFunction { name: "__ia32_sys_setns", programs: both("fexit_setns32", "fentry_setns32") },
        )],
        tracepoints: &[&[Tracepoint {
            points: ["sys_exit_setns", "sys_enter_setns"],
            programs: both("exit_call", "enter_setns"),
        }]],
    },
    CallSpec {
        call: Call::Chroot,
        name: "chroot",
        functions: &[of_registers(
            "__x64_sys_chroot",
            both("fexit_chroot", "fentry_chroot"),
            CompatFunction { name: "__ia32_sys_chroot", programs: both("fexit_chroot32", "fentry_chroot32") },
        )],
        tracepoints: &[&[Tracepoint {
            points: ["sys_exit_chroot", "sys_enter_chroot"],
            programs: both("exit_call", "enter_chroot"),
        }]],
    },
    CallSpec {
        call: Call::PivotRoot,
        name: "pivot_root",
        functions: &[of_registers(
            "__x64_sys_pivot_root",
            both("fexit_pivot_root", "fentry_pivot_root"),
            CompatFunction {
                name: "__ia32_sys_pivot_root",
                programs: both("fexit_pivot_root32", "fentry_pivot_root32"),
            },
        )],
        tracepoints: &[&[Tracepoint {
            points: ["sys_exit_pivot_root", "sys_enter_pivot_root"],
            programs: both("exit_call", "enter_pivot_root"),
        }]],
    },
];

impl Call {
    /// All calls.
    pub const ALL: [Self; CALLS.len()] = {
        let mut all = [Self::Clone; CALLS.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] = CALLS[index].call;
            assert!(all[index] as usize == index, "the table is in the order of the calls");
            index += 1;
        }
        all
    };

    /// The name of its events in every output.
    #[must_use]
    pub fn name(self) -> &'static str {
        CALLS[self as usize].name
    }
}

/// The entries of `calls`, in the order of the table.
pub fn specs(calls: &[Call]) -> impl Iterator<Item = &'static CallSpec> {
    CALLS.iter().filter(|spec| calls.contains(&spec.call))
}
