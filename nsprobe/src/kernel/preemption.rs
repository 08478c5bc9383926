//! Detects whether the kernel preempts tasks in kernel mode.

use super::pseudo::PseudoFs;
use std::sync::LazyLock;

/// Returns true if it does, or if that is not known, when this is called first.
#[must_use]
pub fn is_preemptible() -> bool {
    static PREEMPTIBLE: LazyLock<bool> = LazyLock::new(read);
    *PREEMPTIBLE
}

fn read() -> bool {
    let version = std::fs::read_to_string("/proc/sys/kernel/version").unwrap_or_default();
    if !is_built_to(&version) {
        return false;
    }
    // Chosen at boot, or later.
    let chosen = PseudoFs::debugfs().and_then(|debugfs| debugfs.read("sched/preempt"));
    let chosen = chosen.ok().and_then(|text| Some(text.split_once('(')?.1.split_once(')')?.0.to_owned()));
    chosen.is_none_or(|model| preempts(&model))
}

/// Returns true if a kernel of this version (`uname -v`) can; one built with `PREEMPT_DYNAMIC` need not.
fn is_built_to(version: &str) -> bool {
    version.split_whitespace().any(|word| word.starts_with("PREEMPT"))
}

/// Returns true if this preemption model interrupts tasks anywhere in the kernel.
fn preempts(model: &str) -> bool {
    !matches!(model, "none" | "voluntary")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preemption_model_is_parsed() {
        assert!(!is_built_to("#1 SMP Debian 5.10.223-1 (2024-08-10)"));
        assert!(is_built_to("#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1"));
        assert!(is_built_to("#1 SMP PREEMPT Debian 7.2.13-1"));
        assert!(preempts("full") && preempts("lazy"));
        assert!(!preempts("voluntary") && !preempts("none"));
    }
}
