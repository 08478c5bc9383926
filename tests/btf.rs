//! Struct offsets of the running kernel, compared with bpftool(8).

use crate::support::skipped;
use nsprobe::kernel::btf::{self, Wanted};
use nsprobe_ebpf::{ABSENT, FIELDS};
use serde_json::Value;
use std::collections::HashMap;
use std::process::Command;

/// The bit offset of a member, including those of anonymous structs and unions.
fn bits(types: &HashMap<u64, &Value>, composite: &Value, member: &str) -> Option<u64> {
    composite["members"].as_array()?.iter().find_map(|found| {
        let at = found["bits_offset"].as_u64()?;
        if found["name"] == member {
            return Some(at);
        }
        let mut inner = *types.get(&found["type_id"].as_u64()?)?;
        while inner["kind"] == "CONST" {
            inner = types.get(&inner["type_id"].as_u64()?)?;
        }
        let anonymous =
            found["name"] == "(anon)" && matches!(inner["kind"].as_str(), Some("STRUCT" | "UNION"));
        anonymous.then(|| bits(types, inner, member)).flatten().map(|bits| at + bits)
    })
}

#[test]
fn offsets_are_those_that_bpftool_reads() {
    let _limit = crate::support::time_limit();
    let dump =
        Command::new("bpftool").args(["--json", "btf", "dump", "file", btf::PATH, "format", "raw"]).output();
    let dump: Value = match dump {
        Ok(output) if output.status.success() => serde_json::from_slice(&output.stdout).expect("JSON"),
        Ok(output) => return skipped(&format!("bpftool: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => return skipped(&format!("bpftool: {error}")),
    };
    let list = dump["types"].as_array().expect("a list of types");
    let types: HashMap<u64, &Value> = list.iter().map(|ty| (ty["id"].as_u64().expect("an id"), ty)).collect();
    let kernel = std::fs::read(btf::PATH).expect("the kernel's BTF");
    let functions = ["kernel_clone", "ksys_unshare", "no_such_function"];
    let wanted = Wanted { fields: FIELDS, functions: &functions, typedefs: &["btf_trace_task_newtask"] };
    let found = btf::find(&kernel, &wanted).expect("readable BTF");
    let mut compared = 0;
    for (field, offset) in FIELDS.iter().zip(&found.offsets) {
        let named = list.iter().filter(|ty| ty["kind"] == "STRUCT" && ty["name"] == field.type_name);
        let expected: Vec<u64> = named
            .filter_map(|ty| match field.member {
                "" => ty["size"].as_u64(),
                member => bits(&types, ty, member).map(|bits| bits / 8),
            })
            .collect();
        match expected[..] {
            [] => assert_eq!(*offset, ABSENT, "{field:?}"),
            ref several => {
                assert!(several.contains(&u64::from(*offset)), "{field:?}: {offset}, not {several:?}");
            }
        }
        compared += 1;
    }
    assert_eq!(compared, FIELDS.len());
    // The substitute BTF that programs are loaded with has the required types, at the same ids.
    let reread = btf::find(&found.ids.to_btf(), &wanted).expect("readable BTF");
    assert_eq!(reread.ids, found.ids);
    let text = format!("{:?}", found.ids);
    for (name, kind) in
        [("kernel_clone", "FUNC"), ("ksys_unshare", "FUNC"), ("btf_trace_task_newtask", "TYPEDEF")]
    {
        let theirs = list.iter().find(|ty| ty["kind"] == kind && ty["name"] == name).expect("a type");
        assert!(text.contains(&format!("type_id: {},", theirs["id"])) && text.contains(name), "{text}");
    }
}
