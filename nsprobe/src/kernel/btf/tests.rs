//! Hand-made BTF, and this kernel's.

use super::*;
use crate::kernel::held;
use nsprobe_ebpf::{ABSENT, FIELDS, Field};

/// Types and strings, assembled as the kernel does.
#[derive(Default)]
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

/// The flag of a type: the top bit of the byte that has its kind.
const FLAG: u32 = 0x80;

impl Writer {
    fn new() -> Self {
        Self { strings: vec![0], ..Self::default() }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    /// Adds a type: its kind (with [`FLAG`], if it has that), its vlen, and its size with all that follows.
    fn ty(&mut self, name: &str, kind: u32, vlen: u32, words: &[u32]) -> u32 {
        let name = self.name(name);
        for word in [name, kind << 24 | vlen].iter().chain(words) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.count += 1;
        self.count
    }

    fn composite(&mut self, name: &str, kind: u32, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let mut words = vec![size];
        for (name, ty, bits) in members {
            words.extend([self.name(name), *ty, *bits]);
        }
        self.ty(name, kind, u32::try_from(members.len()).unwrap(), &words)
    }

    fn bytes(&self) -> Vec<u8> {
        assemble(&self.types, &self.strings)
    }
}

fn offsets(btf: &[u8], fields: &[FieldSource]) -> Result<Vec<u32>, BtfError> {
    find(btf, &Wanted { fields, functions: &[], typedefs: &[] }).map(|found| found.offsets)
}

const fn field(type_name: &'static str, member: &'static str) -> FieldSource {
    FieldSource { type_name, member }
}

#[test]
fn member_size_and_absent_field() {
    let mut btf = Writer::new();
    let int = btf.ty("int", kind::INT, 0, &[4, 0]);
    // Kinds of other lengths are in between, so that a wrong length would lead astray.
    btf.ty("e", kind::ENUM, 2, &[4, 0, 0, 0, 1]);
    btf.ty("", kind::ARRAY, 0, &[0, int, int, 3]);
    btf.ty("", kind::FUNC_PROTO, 1, &[int, 0, int]);
    btf.ty("e64", kind::ENUM64, 1, &[8, 0, 1, 0]);
    btf.composite("pid", kind::STRUCT, 96, &[("count", int, 0), ("level", int, 32)]);
    let wanted = [field("pid", "level"), field("pid", ""), field("pid", "gone"), field("none", "x")];
    assert_eq!(offsets(&btf.bytes(), &wanted), Ok(vec![4, 96, ABSENT, ABSENT]));
}

#[test]
fn anonymous_members_are_searched() {
    let mut btf = Writer::new();
    let int = btf.ty("int", kind::INT, 0, &[4, 0]);
    let inner = btf.composite("", kind::STRUCT, 8, &[("a", int, 0), ("b", int, 32)]);
    let union = btf.composite("", kind::UNION, 8, &[("whole", int, 0), ("", inner, 0)]);
    let named = btf.composite("hidden", kind::STRUCT, 8, &[("c", int, 0)]);
    btf.composite("dentry", kind::STRUCT, 24, &[("first", int, 0), ("", union, 64), ("h", named, 128)]);
    let wanted = [field("dentry", "b"), field("dentry", "whole"), field("dentry", "c")];
    // `c` belongs to `h`, which has a name: `dentry.c` is not C.
    assert_eq!(offsets(&btf.bytes(), &wanted), Ok(vec![12, 8, ABSENT]));
}

#[test]
fn a_bit_field_has_no_byte_offset() {
    let mut btf = Writer::new();
    let int = btf.ty("int", kind::INT, 0, &[4, 0]);
    let (bit, whole) = (btf.name("bit"), btf.name("whole"));
    let words = [8, bit, int, 1 << 24 | 8, whole, int, 32];
    btf.ty("s", kind::STRUCT | FLAG, 2, &words);
    assert_eq!(offsets(&btf.bytes(), &[field("s", "bit"), field("s", "whole")]), Ok(vec![ABSENT, 4]));
}

#[test]
fn definition_with_the_wanted_members_is_chosen() {
    let mut btf = Writer::new();
    let int = btf.ty("int", kind::INT, 0, &[4, 0]);
    btf.composite("net", kind::STRUCT, 4, &[("ns", int, 0)]);
    btf.composite("net", kind::STRUCT, 16, &[("ns", int, 64), ("list", int, 96)]);
    btf.composite("net", kind::STRUCT, 32, &[("other", int, 0)]);
    let wanted = [field("net", "ns"), field("net", "list"), field("net", "other")];
    assert_eq!(offsets(&btf.bytes(), &wanted), Ok(vec![8, 12, ABSENT]));
}

#[test]
fn scan_stops_once_all_is_found() {
    let mut btf = Writer::new();
    let int = btf.ty("int", kind::INT, 0, &[4, 0]);
    // Its anonymous part comes after it.
    btf.composite("pid", kind::STRUCT, 8, &[("count", int, 0), ("", 3, 32)]);
    btf.composite("", kind::STRUCT, 4, &[("level", int, 0)]);
    btf.composite("upid", kind::STRUCT, 4, &[("nr", int, 0)]);
    btf.ty("hook", kind::FUNC, 0, &[int]);
    btf.ty("unreadable", 31, 0, &[0]);
    let fields = [field("pid", "level"), field("upid", "nr")];
    let wanted = |functions| Wanted { fields: &fields, functions, typedefs: &[] };
    let found = find(&btf.bytes(), &wanted(&["hook"])).unwrap();
    assert_eq!((found.offsets, found.ids.0.len()), (vec![4, 0], 1));
    assert_eq!(
        find(&btf.bytes(), &wanted(&["hook", "gone"])),
        Err(BtfError::UnknownKind { id: 6, kind: 31 })
    );
}

#[test]
fn ids_are_those_of_functions_and_type_names() {
    let mut btf = Writer::new();
    let int = btf.ty("int", kind::INT, 0, &[4, 0]);
    let proto = btf.ty("", kind::FUNC_PROTO, 0, &[int]);
    btf.composite("hook", kind::STRUCT, 4, &[("x", int, 0)]);
    btf.ty("hook", kind::FUNC, 0, &[proto]);
    btf.ty("hooked", kind::FUNC, 0, &[proto]);
    btf.ty("name", kind::TYPEDEF, 0, &[int]);
    btf.ty("name", kind::FUNC, 0, &[proto]);
    let wanted = Wanted { fields: &[], functions: &["hook", "gone"], typedefs: &["name"] };
    let ids = find(&btf.bytes(), &wanted).unwrap().ids;
    let id = |type_id, kind, name: &str| NamedType { type_id, kind, name: name.to_owned() };
    assert_eq!(ids, Ids(vec![id(4, kind::FUNC, "hook"), id(6, kind::TYPEDEF, "name")]));
    // The BTF that contains nothing else yields the same ids.
    assert_eq!(find(&ids.to_btf(), &wanted).unwrap().ids, ids);
}

#[test]
fn recursive_type_terminates() {
    let mut btf = Writer::new();
    btf.composite("loop", kind::STRUCT, 4, &[("", 1, 0)]);
    assert_eq!(offsets(&btf.bytes(), &[field("loop", "x")]), Ok(vec![ABSENT]));
}

#[test]
fn corrupt_btf_is_an_error() {
    let mut btf = Writer::new();
    let int = btf.ty("int", kind::INT, 0, &[4, 0]);
    btf.composite("pid", kind::STRUCT, 8, &[("count", int, 0), ("level", int, 32)]);
    let whole = btf.bytes();
    let wanted = [field("pid", "level")];
    for len in 0..whole.len() {
        assert!(offsets(&whole[..len], &wanted).is_err(), "cut at {len}");
    }
    // Whatever one byte is changed to, the result is an answer or an error.
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut broken = whole.clone();
            broken[at] = value;
            let _ = offsets(&broken, &wanted);
        }
    }
    let mut version = whole.clone();
    version[2] = 2;
    assert_eq!(offsets(&version, &wanted), Err(BtfError::Version(2)));
    assert_eq!(offsets(b"\x7fELF and more than twenty-four", &wanted), Err(BtfError::NoHeader));
    let mut unknown = Writer::new();
    unknown.ty("future", 31, 0, &[0]);
    let error = BtfError::UnknownKind { id: 1, kind: 31 };
    assert_eq!(offsets(&unknown.bytes(), &wanted), Err(error));
}

#[test]
fn running_kernel_has_the_common_fields() {
    let Ok(btf) = std::fs::read(PATH) else {
        eprintln!("SKIP: no {PATH} here: the kernel was built without CONFIG_DEBUG_INFO_BTF");
        return;
    };
    let found = offsets(&btf, FIELDS).unwrap();
    // Holders are searched only on kernels whose namespaces have ids, and that search needs newer structs.
    let has_numbers = found[Field::NsCommonId as usize] != ABSENT;
    let of_holders =
        [&held::NEEDED[..], &held::OPTIONAL, &held::OF_SUPERBLOCKS, &held::OF_CONNECTIONS].concat();
    for ((source, offset), field) in FIELDS.iter().zip(&found).zip(Field::ALL) {
        if !has_numbers && of_holders.contains(field) {
            continue;
        }
        // The kind of a namespace has one of two names, and so has the parent of a control group, see the table; and
        // only one kernel has lists of namespaces.
        let of_lists = source.type_name == "ns_tree"
            || matches!(source.member, "ns_id" | "__ns_ref" | "ns_tree_node" | "ns_list_node");
        if !of_lists && !matches!(source.member, "type" | "ns_type" | "parent" | "__parent") {
            assert!(*offset < 1 << 16, "{}.{} at {offset}", source.type_name, source.member);
        }
    }
}

/// `long f(const struct regs *, u32)`, whose types come before and after it, and a tracepoint with a context.
#[test]
fn prototypes_are_resolved_through_qualifiers() {
    let mut writer = Writer::new();
    let long = writer.ty("long", kind::INT, 0, &[8, 64]);
    let (proto, regs) = (long + 2, long + 3);
    let function = writer.ty("f", kind::FUNC, 0, &[proto]);
    assert_eq!(function + 1, proto);
    writer.ty("", kind::FUNC_PROTO, 2, &[long, 0, regs + 2, 0, regs + 4]);
    writer.composite("regs", kind::STRUCT, 8, &[]);
    writer.ty("", kind::CONST, 0, &[regs]);
    writer.ty("", kind::PTR, 0, &[regs + 1]);
    let word = writer.ty("int", kind::INT, 0, &[4, 32]);
    writer.ty("u32", kind::TYPEDEF, 0, &[word]);
    let anything = writer.ty("", kind::PTR, 0, &[0]);
    let trace = writer.ty("", kind::FUNC_PROTO, 1, &[0, 0, anything]);
    let pointer = writer.ty("", kind::PTR, 0, &[trace]);
    writer.ty("btf_trace_t", kind::TYPEDEF, 0, &[pointer]);
    writer.ty("no_function", kind::TYPEDEF, 0, &[word]);
    let typedefs = ["btf_trace_t", "no_function"];
    let find = |functions: &[&str], typedefs: &[&str]| {
        find(&writer.bytes(), &Wanted { fields: &[], functions, typedefs }).unwrap().prototypes
    };
    let pointer_to = |name: &str| Shape::Pointer(name.to_owned());
    let f = Prototype { parameters: vec![pointer_to("regs"), Shape::Integer(4)], result: Shape::Integer(8) };
    // Also if nothing else makes the scan continue past the function.
    assert_eq!(find(&["f"], &[]), HashMap::from([("f".to_owned(), f.clone())]));
    let t = Prototype { parameters: vec![Shape::OtherPointer], result: Shape::Void };
    let both = HashMap::from([("f".to_owned(), f), ("btf_trace_t".to_owned(), t)]);
    assert_eq!(find(&["f", "absent"], &typedefs), both);
}

#[test]
fn dangling_prototype_is_none() {
    let mut writer = Writer::new();
    // Referring to a type that does not exist, to itself, and with a cyclic parameter.
    writer.ty("beyond", kind::FUNC, 0, &[99]);
    writer.ty("itself", kind::FUNC, 0, &[2]);
    writer.ty("", kind::TYPEDEF, 0, &[3]);
    writer.ty("", kind::FUNC_PROTO, 1, &[0, 0, 3]);
    writer.ty("circle", kind::FUNC, 0, &[4]);
    let wanted = Wanted { fields: &[], functions: &["beyond", "itself", "circle"], typedefs: &[] };
    let found = find(&writer.bytes(), &wanted).unwrap();
    assert_eq!(found.prototypes, HashMap::new());
    assert_eq!(found.ids.id_of("circle"), Some(5));
}
