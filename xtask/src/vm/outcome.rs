//! The output of the tests, parsed line by line, and whether it is a success.

/// The result of the tests on one kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub passed: u32,
    pub failed: u32,
    /// Skipped tests, each with its reason.
    pub skipped: Vec<String>,
    /// The exit code of the tests; `None` until they are known to have ended.
    pub status: Option<i32>,
}

impl Outcome {
    /// Parses a line of the tests' output. Returns the part that should be shown at once.
    pub fn line<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        if let Some(status) = line.strip_prefix("NSPROBE-VM-END status=") {
            self.status = status.trim().parse().ok();
            return None;
        }
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            return Some(line);
        }
        if let Some(at) = line.find("SKIPPED ") {
            // The harness has printed the test's name on the same line.
            let (name, skipped) = line.split_at(at);
            let skipped = &skipped["SKIPPED ".len()..];
            self.skipped.push(skipped.to_owned());
            return Some(if name.is_empty() { line } else { &line[at..] });
        }
        let shown = ["test ", "COUNTED ", "CONFORMANCE "].iter().any(|start| line.starts_with(start));
        (shown || line.contains("panicked at")).then_some(line)
    }

    /// True if tests ran to their end and none failed.
    pub fn success(&self) -> bool {
        self.status == Some(0) && self.failed == 0 && self.passed > 0
    }
}

/// The number before `word` in libtest's `ok. 3 passed; 1 failed; …`.
fn count(counts: &str, word: &str) -> u32 {
    let part = counts.split([';', '.']).find_map(|part| part.trim().strip_suffix(word));
    part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Outcome {
        let mut outcome = Outcome::default();
        for line in text.lines() {
            let _ = outcome.line(line);
        }
        outcome
    }

    const RESULT: &str =
        "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s";

    #[test]
    fn results_add_up() {
        let outcome = read(&format!(
            "{RESULT}\ntest a::b ... SKIPPED a::b: no lsns\nok\n{RESULT}\nNSPROBE-VM-END status=0"
        ));
        let skipped = vec!["a::b: no lsns".to_owned()];
        assert_eq!(outcome, Outcome { passed: 6, failed: 0, skipped, status: Some(0) });
        assert!(outcome.success());
    }

    #[test]
    fn incomplete_runs_are_not_a_success() {
        assert!(!read("").success());
        assert!(!read(RESULT).success(), "cut off");
        assert!(!read("NSPROBE-VM-END status=0").success(), "no test ran");
        assert!(!read(&format!("{RESULT}\nNSPROBE-VM-END status=101")).success());
        assert!(!read(&format!("{RESULT}\nNSPROBE-VM-END status=")).success());
        let failed = "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured";
        assert!(!read(&format!("{failed}\nNSPROBE-VM-END status=0")).success());
        assert_eq!(read(failed).failed, 1);
    }
}
