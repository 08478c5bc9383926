use super::*;
use std::borrow::Cow;

const FIELDS: &[Field] = &[
    Field::new("kind", Type::Text),
    Field::new("pid", Type::Number),
    Field::new("nprocs", Type::Number),
    Field::new("command", Type::Text),
    Field::new("initial", Type::Bool),
    Field::new("holders", Type::Texts),
    Field::new("pids", Type::Numbers),
    Field::new("namespaces.net", Type::Number),
];

/// A row; `None` is what is not known.
#[derive(Clone, Default)]
struct Row {
    pid: Option<u32>,
    command: Option<&'static str>,
    holders: Vec<&'static str>,
}

impl Fields for Row {
    fn value(&self, name: &str) -> Value<'_> {
        match name {
            "kind" => Value::text(Some("net")),
            "pid" => Value::number(self.pid),
            "pids" => Value::Numbers(self.pid.into_iter().map(u64::from).chain([1]).collect()),
            "nprocs" => Value::Number(u64::from(self.pid.is_some())),
            "command" => Value::text(self.command),
            "initial" => Value::Bool(false),
            "holders" => Value::Texts(self.holders.iter().map(|&holder| Cow::from(holder)).collect()),
            "namespaces.net" => Value::Number(4_026_531_833),
            other => panic!("asked for {other}"),
        }
    }
}

fn is_true(text: &str, row: &Row) -> bool {
    let filter = Filter::compile(text, FIELDS).unwrap_or_else(|error| panic!("{text}: {error}"));
    filter.matches(row).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn complaint(text: &str) -> String {
    Filter::compile(text, FIELDS).expect_err(text).to_string()
}

#[test]
fn comparisons_patterns_and_their_combinations() {
    let row = Row { pid: Some(931), command: Some("nginx: worker"), holders: vec!["bind_mount"] };
    for text in [
        "pid == 931",
        "pid >= 931 && pid < 932",
        "!(pid == 1) && kind != 'mnt'",
        "kind == 'net' || kind == 'pid'",
        "kind in ['net', 'pid']",
        "pid in [1, 931]",
        "command.matches('^nginx: (master|worker)$')",
        r"command.matches(r'\bworker\b') && command.matches('ngin')",
        "command.contains('work') && command.startsWith('nginx') && command.endsWith('er')",
        "'bind_mount' in holders",
        "holders.exists(h, h.startsWith('bind'))",
        "holders.all(h, h != 'socket') && size(holders) == 1",
        "931 in pids && pids[1] == 1",
        "namespaces.net == 4026531833",
        "initial == false && !initial",
        "pid + 1 == 932 && pid % 2 == 1",
        "initial ? pid == 1 : pid == 931",
        "kind > 'mnt'",
        "string(pid).startsWith('93')",
    ] {
        assert!(is_true(text, &row), "{text}");
        assert!(!is_true(&format!("!({text})"), &row), "!({text})");
    }
}

#[test]
fn what_is_not_known_is_null_and_answers_nothing_else() {
    let row = Row::default();
    assert!(is_true("pid == null", &row));
    assert!(is_true("pid != 5", &row));
    assert!(!is_true("pid > 5", &row));
    assert!(!is_true("!(pid > 5)", &row), "neither a statement nor its contrary");
    assert!(!is_true("command.matches('.')", &row));
    assert!(!is_true("!command.matches('.')", &row));
    assert!(is_true("pid > 5 || nprocs == 0", &row), "the other side decides");
    assert!(!is_true("pid > 5 && nprocs == 0", &row));
}

#[test]
fn a_field_that_there_is_not_is_named_with_those_there_are() {
    insta::assert_snapshot!(complaint("kid == 'net'"), @"there is no field `kid`: the fields are kind, pid, nprocs, command, initial, holders, pids, namespaces.net");
    insta::assert_snapshot!(complaint("pid == 1 || namespaces.mount == 1"), @"there is no field `namespaces.mount`: the fields are kind, pid, nprocs, command, initial, holders, pids, namespaces.net");
    // Where evaluation would never come by.
    assert!(
        complaint("false && size(holders.filter(h, h == kid)) > 0").starts_with("there is no field `kid`")
    );
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let complaints: Vec<String> = [
        "pid == 'root'",
        "kind > 5",
        "pid",
        "pid && initial",
        "!command",
        "'5' in pids",
        "'net' in kind",
        "holders.contains('bind')",
        "command.matches(5)",
        "pid.matches('5')",
        "command.matches(kind)",
        "command.matches('(')",
        "command.lower() == 'a'",
        "kind.exists(k, k == 'n')",
        "{'a': 1}.a == 1",
        "pid > null",
    ]
    .into_iter()
    .map(|text| format!("{text}  →  {}", complaint(text)))
    .collect();
    insta::assert_snapshot!(complaints.join("\n"), @"
    pid == 'root'  →  a number cannot be compared with a text
    kind > 5  →  a text cannot be compared with a number
    pid  →  the filter gives a number, not true or false
    pid && initial  →  a number stands where true or false is needed
    !command  →  a text stands where true or false is needed
    '5' in pids  →  a text cannot be compared with a number
    'net' in kind  →  `in` needs a list, not a text
    holders.contains('bind')  →  `contains` is for texts; of a list write `'…' in list` or `list.exists(x, x.contains('…'))`
    command.matches(5)  →  `matches` needs two texts, not a text and a number
    pid.matches('5')  →  `matches` needs two texts, not a number and a text
    command.matches(kind)  →  the pattern of `matches` is to be written as a text
    command.matches('(')  →  '(' is not a regular expression: unclosed group
    command.lower() == 'a'  →  there is no function `lower`: the functions are contains, startsWith, endsWith, matches, size, int, string, exists, all, exists_one, map, filter
    kind.exists(k, k == 'n')  →  exists, all, map and filter need a list, not a text
    {'a': 1}.a == 1  →  only fields may be written with a dot
    pid > null  →  a number cannot be compared with null
    ");
}

#[test]
fn a_text_that_is_no_expression_says_where_and_how_to_write_one() {
    let how = " (comparisons are written ==, !=, <, <=, >, >=, `in`; text.matches('regex'), text.contains('…'), text.startsWith('…'); joined by &&, ||, !)";
    let short = |text: &str| complaint(text).strip_suffix(how).unwrap().to_owned();
    let complaints: Vec<String> = [
        "pid >",
        "kind == 'net' and pid == 1",
        "pid = 1",
        "",
        "kind == 'net",
        "(pid == 1",
        "pid == 1)",
        "größe",
    ]
    .into_iter()
    .map(|text| format!("{text:?}  →  {}", short(text)))
    .collect();
    insta::assert_snapshot!(complaints.join("\n"), @r#"
    "pid >"  →  column 6: unexpected end
    "kind == 'net' and pid == 1"  →  column 15: unexpected 'and'
    "pid = 1"  →  column 5: cannot read '= '
    ""  →  column 1: unexpected end
    "kind == 'net"  →  column 9: cannot read ''net'
    "(pid == 1"  →  column 10: missing ')' at end
    "pid == 1)"  →  column 9: unexpected ')'
    "größe"  →  column 3: cannot read 'ö'
    "#);
}

#[test]
fn a_monstrous_expression_is_an_answer_or_an_error_and_no_crash() {
    let mut refused = 0;
    let part = |open: &str, middle: &str, close: &str, length: usize| {
        let count = (length - middle.len()) / (open.len() + close.len());
        format!("{}{middle}{}", open.repeat(count), close.repeat(count))
    };
    for length in [60, 1_000, LONGEST, LONGEST + 1, 100_000] {
        for text in [
            part("(", "pid == 1", ")", length),
            part("!", "initial", "", length),
            part("pid == 1 || ", "initial", "", length),
            part("", "pid == 1", " + 1", length),
            part("1 - (", "pid", ")", length),
            part("", "pid", ".a", length),
            part("", "pids", "[0]", length),
            part("initial ? true : ", "initial", "", length),
            part("pid in [", "1", "]", length),
            part("[1].exists(x, ", "initial", ")", length),
        ] {
            match Filter::compile(&text, FIELDS) {
                Ok(filter) => drop(filter.matches(&Row::default())),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused >= 20, "{refused}");
}
