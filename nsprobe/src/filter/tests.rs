use super::check::nearest;
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

/// A row; `None` is unknown.
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
            other => panic!("unexpected field {other}"),
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
fn test_of_unknown_is_false_and_its_negation_true() {
    let row = Row::default();
    for text in [
        "pid == null",
        "pid != 5",
        "!(pid == 5)",
        "!(pid > 5) && !(pid <= 5)",
        "command != 'x' && !command.contains('x') && !command.matches('.')",
        "!(pid in [1, 2])",
        "!(pid == pid)",
        "pid + 1 == null",
        "(pid == null ? 7 : pid) == 7",
        "!((initial ? 7 : pid) == 7)",
        "!holders.exists(h, size(h) > pid)",
        "holders.all(h, !(size(h) > pid))",
        "!(pid in [1].map(n, n + pid))",
        "size([1, 2].filter(n, !(n > pid))) == 2",
        "pid > 5 || nprocs == 0",
    ] {
        assert!(is_true(text, &row), "{text}");
        assert!(!is_true(&format!("!({text})"), &row), "!({text})");
    }
}

/// Single tests of fields that may be unknown.
const TESTS: [&str; 20] = [
    "pid == 5",
    "pid != 5",
    "pid < 5",
    "pid >= 5",
    "pid in [1, 5]",
    "5 in pids",
    "pid == null",
    "pid != null",
    "null == command",
    "pid + 1 > 5",
    "string(pid) == '5'",
    "command.contains('x')",
    "command.matches('^x')",
    "command > 'w'",
    "size(command) == 1",
    "(initial ? pid : 5) == 5",
    "(pid > 4) == true",
    "holders.exists(h, h == command)",
    "holders.all(h, h == command)",
    "holders.exists_one(h, size(h) == pid)",
];

#[test]
fn either_a_test_or_its_negation_is_true() {
    let commands = [None, Some("x"), Some("wxy")];
    let lists = [vec![], vec!["x"], vec!["x", "abcde"]];
    let mut rows = Vec::new();
    for pid in [None, Some(4), Some(5)] {
        for command in commands {
            rows.extend(lists.iter().map(|holders| Row { pid, command, holders: holders.clone() }));
        }
    }
    let mut outcomes = [0_u32; 2];
    for row in &rows {
        let answers: Vec<bool> = TESTS.iter().map(|text| is_true(text, row)).collect();
        for (text, &answer) in TESTS.iter().zip(&answers) {
            outcomes[usize::from(answer)] += 1;
            for not in [format!("!({text})"), format!("({text}) == false"), format!("{text} ? false : true")]
            {
                assert_ne!(is_true(&not, row), answer, "{not}");
            }
        }
        for (i, (text, &answer)) in TESTS.iter().zip(&answers).enumerate() {
            let (other, second) = (TESTS[(i + 7) % TESTS.len()], answers[(i + 7) % TESTS.len()]);
            assert_eq!(
                is_true(&format!("({text}) && !({other})"), row),
                answer && !second,
                "{text}, {other}"
            );
            assert_eq!(
                is_true(&format!("!({text}) || ({other})"), row),
                !answer || second,
                "{text}, {other}"
            );
        }
    }
    assert!(outcomes.iter().all(|&count| count > 100), "{outcomes:?}");
}

#[test]
fn failed_evaluation_is_an_error_of_that_row() {
    let (some, none) = (Row { pid: Some(5), ..Row::default() }, Row::default());
    let filter = Filter::compile("10 / (nprocs - 1) > 1 || pids[1] == 7", FIELDS).unwrap();
    assert!(matches!(filter.matches(&some), Err(Error::Evaluation(_))));
    assert!(matches!(filter.matches(&none), Err(Error::Evaluation(_))));
    let filter = Filter::compile("nprocs == 0 || 10 / (nprocs - 1) > 1", FIELDS).unwrap();
    assert_eq!(filter.matches(&none), Ok(true), "the other side decides");
}

#[test]
fn unknown_field_is_an_error_that_lists_the_fields() {
    insta::assert_snapshot!(complaint("kid == 'net'"), @"there is no field `kid` (did you mean `kind`?): the fields are kind, pid, nprocs, command, initial, holders, pids, namespaces.net");
    insta::assert_snapshot!(complaint("pid == 1 || namespaces.mount == 1"), @"there is no field `namespaces.mount` (did you mean `namespaces.net`?): the fields are kind, pid, nprocs, command, initial, holders, pids, namespaces.net");
    let named = |name| nearest(name, &["leader.pid", "leader.comm", "nprocs", "key"]);
    assert_eq!(
        [named("pid"), named("npocs"), named("uid"), named("x")],
        [Some("leader.pid"), Some("nprocs"), None, None]
    );
    // In a part that would never be evaluated.
    assert!(
        complaint("false && size(holders.filter(h, h == kid)) > 0").starts_with("there is no field `kid`")
    );
}

#[test]
fn type_errors_are_refused() {
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
    pid  →  the filter is a number, not true or false
    pid && initial  →  true or false is needed, not a number
    !command  →  true or false is needed, not a text
    '5' in pids  →  a text cannot be compared with a number
    'net' in kind  →  `in` needs a list, not a text
    holders.contains('bind')  →  `contains` is for texts; of a list write `'…' in list` or `list.exists(x, x.contains('…'))`
    command.matches(5)  →  `matches` needs two texts, not a text and a number
    pid.matches('5')  →  `matches` needs two texts, not a number and a text
    command.matches(kind)  →  the pattern of `matches` must be a literal text
    command.matches('(')  →  '(' is not a regular expression: unclosed group
    command.lower() == 'a'  →  there is no function `lower`: the functions are contains, startsWith, endsWith, matches, size, int, string, capabilities, exists, all, exists_one, map, filter
    kind.exists(k, k == 'n')  →  exists, all, map and filter need a list, not a text
    {'a': 1}.a == 1  →  a dot is for names of fields only
    pid > null  →  a number cannot be compared with null
    ");
}

#[test]
fn syntax_error_gives_the_column_and_a_hint() {
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
fn huge_expression_does_not_crash() {
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
