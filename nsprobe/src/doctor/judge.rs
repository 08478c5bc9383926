//! Facts → findings and remedies. Nothing here reads the machine.

use super::facts::{Bpf, Facts};
use crate::kernel::advice::WITH_HOSTS_PIDS;
use crate::kernel::capabilities::Capability;
use crate::kernel::lockdown::Lockdown;
use crate::model::{Check, Verdict};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// The oldest kernel in the tests.
const OLDEST: (u32, u32) = (5, 10);

/// The beginning of a finding about what was not worth trying.
const NOT_TRIED: &str = "not tried: ";

/// Every check, in the order of a reader's questions.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        kernel(facts),
        capabilities(facts),
        user_namespace(facts),
        pid_namespace(facts),
        proc_options(facts),
        unreadable(facts),
        sources(facts),
        root(facts),
        lockdown(facts),
        btf(facts),
        bpf(facts),
        ring_buffer(facts),
        fentry(facts),
        tracepoints(facts),
        perf(facts),
        trace(facts),
    ];
    keep_once(&mut checks, facts.remedy.as_deref());
    checks
}

/// Keeps each remedy, and each reason why something was not tried, in its first row only. The way to get the
/// capabilities is in their own row, and is removed from the end of refusals.
fn keep_once(checks: &mut [Check], of_capabilities: Option<&str>) {
    let (mut remedies, mut untried) = (HashSet::new(), HashMap::new());
    for check in checks {
        check.remedy.take_if(|remedy| !remedies.insert(remedy.clone()));
        if let Some(remedy) = of_capabilities {
            check.finding = check.finding.replace(&format!(": {remedy}"), "");
        }
        if check.finding.starts_with(NOT_TRIED) {
            match untried.entry(check.finding.clone()) {
                Entry::Vacant(first) => drop(first.insert(check.subject)),
                Entry::Occupied(first) => check.finding = format!("{NOT_TRIED}see {}", first.get()),
            }
        }
    }
}

fn good(subject: &'static str, finding: impl Into<String>) -> Check {
    Check { subject, verdict: Verdict::Good, finding: finding.into(), remedy: None }
}

fn limited(subject: &'static str, finding: impl Into<String>, remedy: Option<&str>) -> Check {
    Check { subject, verdict: Verdict::Limited, finding: finding.into(), remedy: remedy.map(str::to_owned) }
}

fn missing(subject: &'static str, finding: impl Into<String>, remedy: Option<&str>) -> Check {
    Check { verdict: Verdict::Missing, ..limited(subject, finding, remedy) }
}

fn kernel(facts: &Facts) -> Check {
    let release = &facts.release;
    let mut numbers = release.split(['.', '-', '+']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => {
            good("kernel", format!("Linux {release}"))
        }
        (Some(Ok(_)), Some(Ok(_))) => missing(
            "kernel",
            format!("Linux {release}: trace is tested since {}.{}", OLDEST.0, OLDEST.1),
            Some("use list and tree, which need no more than /proc"),
        ),
        _ => limited("kernel", format!("Linux {release}: unknown release format"), None),
    }
}

fn capabilities(facts: &Facts) -> Check {
    let for_trace: Vec<_> = facts.capabilities.missing_to_trace().iter().map(|lacks| lacks.name()).collect();
    let mut lacking = Vec::new();
    if !for_trace.is_empty() {
        lacking.push(format!("{}, or CAP_SYS_ADMIN (trace)", for_trace.join(" and ")));
    }
    if !facts.capabilities.has(Capability::DacReadSearch) {
        lacking.push("CAP_DAC_READ_SEARCH (root's files of tracefs, needed for tracepoints)".to_owned());
    }
    if !facts.capabilities.has(Capability::SysPtrace) {
        lacking.push("CAP_SYS_PTRACE (other users' processes in list and tree)".to_owned());
    }
    if lacking.is_empty() && facts.remedy.is_none() {
        return good("capabilities", "all that nsprobe can use");
    }
    if lacking.is_empty() {
        return missing(
            "capabilities",
            "they count only inside this user namespace",
            facts.remedy.as_deref(),
        );
    }
    missing("capabilities", format!("lacks {}", lacking.join(", ")), facts.remedy.as_deref())
}

fn user_namespace(facts: &Facts) -> Check {
    match facts.initial_user_namespace {
        Some(true) => good("user namespace", "the initial one"),
        Some(false) => missing(
            "user namespace",
            "not the initial one: capabilities count only inside it, and BPF is refused",
            None,
        ),
        None => limited("user namespace", "whether it is the initial one cannot be read", None),
    }
}

fn pid_namespace(facts: &Facts) -> Check {
    if facts.whole_machine == Some(true) {
        good("pid namespace", "/proc shows the whole machine")
    } else if facts.whole_machine.is_none() {
        limited("pid namespace", "whether /proc shows the whole machine is unknown: it hides processes", None)
    } else {
        limited(
            "pid namespace",
            "/proc shows one pid namespace and those below it; trace still sees the whole machine",
            Some(WITH_HOSTS_PIDS),
        )
    }
}

fn proc_options(facts: &Facts) -> Check {
    let Some(mount) = &facts.proc_mount else {
        return missing("/proc", "no proc file system is mounted there", Some("mount -t proc proc /proc"));
    };
    let mut limits = Vec::new();
    if mount.hidepid && facts.remedy_to_see.is_some() {
        limits.push("hidepid hides other users' processes");
    }
    if mount.subset_pid {
        limits.push("subset=pid hides everything but processes");
    }
    if limits.is_empty() {
        let hidepid = "mounted with hidepid, which hides nothing from CAP_SYS_PTRACE";
        good("/proc", if mount.hidepid { hidepid } else { "mounted without hidepid or subset" })
    } else {
        limited("/proc", limits.join("; "), Some("mount another proc without these options"))
    }
}

fn unreadable(facts: &Facts) -> Check {
    let (unreadable, all) = (facts.unreadable_processes, facts.processes);
    match (unreadable, facts.remedy_to_see.is_none()) {
        (0, _) => good("processes", format!("the namespaces of all {all} are readable")),
        (_, false) => limited(
            "processes",
            format!(
                "the namespaces of {unreadable} of {all} are not readable without CAP_SYS_PTRACE{}",
                if facts.initial_user_namespace == Some(false) { " in a user namespace above" } else { "" }
            ),
            None,
        ),
        (_, true) => limited(
            "processes",
            format!(
                "the namespaces of {unreadable} of {all} are not readable, even with CAP_SYS_PTRACE: \
                 a security module or sandbox forbids it"
            ),
            None,
        ),
    }
}

fn sources(facts: &Facts) -> Check {
    let missing = &facts.missing_sources;
    if missing.is_empty() {
        return good(
            "sources",
            "the kernel lists its namespaces, including those that nothing in /proc leads to",
        );
    }
    let reasons: Vec<&str> = missing.iter().map(|(reason, _)| reason.as_str()).collect();
    let mut remedies: Vec<&str> = missing.iter().filter_map(|(_, remedy)| remedy.as_deref()).collect();
    remedies.dedup();
    // The way to get the capabilities is in their row.
    remedies.retain(|remedy| {
        facts.remedy.is_none() || !remedy.starts_with("run ") && !remedy.starts_with("start ")
    });
    let remedy = remedies.join("; ");
    limited("sources", reasons.join("; "), (!remedy.is_empty()).then_some(remedy.as_str()))
}

fn root(facts: &Facts) -> Check {
    if facts.whole_root {
        good("root", "nsprobe is not chrooted")
    } else {
        limited(
            "root",
            "nsprobe is chrooted: the roots and mounts of others are seen relative to its own",
            Some("run outside the chroot"),
        )
    }
}

fn lockdown(facts: &Facts) -> Check {
    match facts.lockdown {
        Lockdown::None => good("lockdown", "off"),
        Lockdown::Integrity => good("lockdown", "integrity, which forbids nothing that nsprobe does"),
        Lockdown::Confidentiality if facts.fentry == Bpf::Works => good("lockdown", "confidentiality"),
        Lockdown::Confidentiality => missing(
            "lockdown",
            "confidentiality: BPF may not read kernel memory, so trace works without BPF",
            Some("boot with lockdown=integrity or without lockdown="),
        ),
        Lockdown::Unknown => limited("lockdown", "cannot be read", None),
    }
}

fn btf(facts: &Facts) -> Check {
    match &facts.btf {
        Ok(lacking) if lacking.is_empty() => good("btf", "readable, with every field that trace needs"),
        Ok(lacking) => limited("btf", format!("events lack {}", lacking.join("; ")), None),
        Err(error) => missing(
            "btf",
            format!("{error}: trace cannot find this kernel's structs"),
            Some("use a kernel built with CONFIG_DEBUG_INFO_BTF"),
        ),
    }
}

fn bpf(facts: &Facts) -> Check {
    from(&facts.bpf, "bpf", "programs load", "trace works without BPF")
}

fn ring_buffer(facts: &Facts) -> Check {
    from(&facts.ring_buffer, "ring buffer", "works", "trace works without BPF (it needs Linux 5.8)")
}

fn fentry(facts: &Facts) -> Check {
    match &facts.fentry {
        Bpf::Works => good("fentry", "fentry and fexit load: trace costs other system calls nothing"),
        Bpf::Refused(why) => limited("fentry", format!("{why}: trace uses tracepoints if it can"), None),
        Bpf::NotTried(why) => limited("fentry", format!("{NOT_TRIED}{why}"), None),
    }
}

fn tracepoints(facts: &Facts) -> Check {
    from(
        &facts.tracepoints,
        "tracepoints",
        &facts.tracefs,
        "where fentry is refused, trace works without BPF",
    )
}

fn perf(facts: &Facts) -> Check {
    match &facts.perf {
        Bpf::Works => good("perf", "reports namespaces: used by trace where BPF is refused"),
        Bpf::Refused(why) | Bpf::NotTried(why) => {
            limited("perf", format!("{why}: where BPF is refused, trace can only scan /proc"), None)
        }
    }
}

fn trace(facts: &Facts) -> Check {
    match &facts.trace {
        Ok(("proc", _)) if matches!(facts.perf, Bpf::Refused(_)) => {
            limited("trace", "takes proc: BPF and perf are refused (see fentry, tracepoints and perf)", None)
        }
        Ok(("perf", _)) => limited("trace", "takes perf: BPF is refused (see fentry and tracepoints)", None),
        Ok((source @ ("fentry" | "fprobes"), reason)) => good("trace", format!("takes {source}: {reason}")),
        Ok((source, reason)) => limited("trace", format!("takes {source}: {reason}"), None),
        Err(why) => missing("trace", why, None),
    }
}

fn from(bpf: &Bpf, subject: &'static str, works: &str, consequence: &str) -> Check {
    match bpf {
        Bpf::Works => good(subject, works),
        Bpf::Refused(why) => missing(subject, format!("{why}: {consequence}"), None),
        Bpf::NotTried(why) => limited(subject, format!("{NOT_TRIED}{why}"), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::ProcMount;
    use crate::kernel::capabilities::Effective;

    fn effective(mask: u64) -> Effective {
        Effective::parse(format!("CapEff:\t{mask:016x}\n").as_bytes()).unwrap()
    }

    fn all_is_well() -> Facts {
        Facts {
            release: "6.12.1-amd64".to_owned(),
            capabilities: effective(u64::MAX),
            remedy: None,
            remedy_to_see: None,
            initial_user_namespace: Some(true),
            whole_machine: Some(true),
            proc_mount: Some(ProcMount { hidepid: false, subset_pid: false }),
            processes: 100,
            unreadable_processes: 0,
            missing_sources: vec![],
            whole_root: true,
            lockdown: Lockdown::None,
            btf: Ok(vec![]),
            bpf: Bpf::Works,
            ring_buffer: Bpf::Works,
            fentry: Bpf::Works,
            tracefs: "tracefs is mounted".to_owned(),
            tracepoints: Bpf::Works,
            perf: Bpf::Works,
            trace: Ok(("fentry", "they work".to_owned())),
        }
    }

    fn verdict(facts: &Facts, subject: &str) -> (Verdict, String) {
        let check = judge(facts).into_iter().find(|check| check.subject == subject).unwrap();
        (check.verdict, check.finding)
    }

    #[test]
    fn machine_without_limits_needs_no_remedy() {
        let checks = judge(&all_is_well());
        assert!(
            checks.iter().all(|check| check.verdict == Verdict::Good && check.remedy.is_none()),
            "{checks:#?}"
        );
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        let at = |release: &str| verdict(&Facts { release: release.to_owned(), ..all_is_well() }, "kernel").0;
        assert_eq!(at("5.9.16"), Verdict::Missing);
        assert_eq!(at("5.10.0-32-cloud-amd64"), Verdict::Good);
        assert_eq!(at("10.1+x"), Verdict::Good);
        assert_eq!(at("mainline"), Verdict::Limited);
    }

    #[test]
    fn sys_admin_implies_the_capabilities_split_from_it() {
        let with =
            |caps: u64| verdict(&Facts { capabilities: effective(caps), ..all_is_well() }, "capabilities");
        assert_eq!(with(1 << 21 | 1 << 19 | 1 << 2).0, Verdict::Good);
        let (verdict, finding) = with(1 << 38 | 1 << 39 | 1 << 2);
        assert_eq!(verdict, Verdict::Missing);
        assert!(finding.contains("CAP_SYS_PTRACE") && !finding.contains("(trace)"), "{finding}");
        assert!(with(1 << 38 | 1 << 19).1.contains("lacks CAP_BPF, or CAP_SYS_ADMIN (trace)"));
        assert!(with(0).1.contains("CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN (trace)"));
    }

    #[test]
    fn remedy_for_capabilities_appears_once() {
        let not_tried = || Bpf::NotTried("tracing needs CAP_BPF and CAP_PERFMON: run with sudo".to_owned());
        let facts = Facts {
            capabilities: effective(0),
            remedy: Some("run with sudo".to_owned()),
            remedy_to_see: Some("run with sudo".to_owned()),
            initial_user_namespace: None,
            unreadable_processes: 90,
            missing_sources: vec![("lists".to_owned(), Some("run with sudo, or with CAP_BPF".to_owned()))],
            lockdown: Lockdown::Unknown,
            bpf: not_tried(),
            ring_buffer: not_tried(),
            fentry: not_tried(),
            tracepoints: not_tried(),
            perf: Bpf::Refused("EACCES: it needs CAP_PERFMON: run with sudo".to_owned()),
            trace: Ok(("proc", "no BPF: run with sudo".to_owned())),
            ..all_is_well()
        };
        let findings: Vec<String> = judge(&facts).into_iter().map(|check| check.finding).collect();
        assert!(findings.iter().all(|finding| !finding.contains("sudo")), "{findings:#?}");
        assert_eq!(
            verdict(&facts, "perf").1,
            "EACCES: it needs CAP_PERFMON: where BPF is refused, trace can only scan /proc"
        );
        let remedies: Vec<String> = judge(&facts).into_iter().filter_map(|check| check.remedy).collect();
        assert_eq!(remedies, ["run with sudo"]);
    }

    #[test]
    fn every_limit_names_its_consequence() {
        let hidden = ProcMount { hidepid: true, subset_pid: true };
        let sudo = Some("run with sudo".to_owned());
        let facts = Facts { proc_mount: Some(hidden), remedy_to_see: sudo, ..all_is_well() };
        assert_eq!(verdict(&facts, "/proc").0, Verdict::Limited);
        assert_eq!(verdict(&Facts { proc_mount: None, ..all_is_well() }, "/proc").0, Verdict::Missing);
        let source = |reason: &str| (reason.to_owned(), Some("Linux 6.19".to_owned()));
        let facts = Facts { missing_sources: vec![source("these"), source("those")], ..all_is_well() };
        assert_eq!(verdict(&facts, "sources"), (Verdict::Limited, "these; those".to_owned()));
        let facts = Facts { lockdown: Lockdown::Confidentiality, ..all_is_well() };
        assert_eq!(verdict(&facts, "lockdown").0, Verdict::Good, "fentry works");
        let refused = Bpf::Refused("EINVAL".to_owned());
        assert_eq!(verdict(&Facts { fentry: refused, ..facts }, "lockdown").0, Verdict::Missing);
        let facts = Facts { lockdown: Lockdown::Integrity, ..all_is_well() };
        assert_eq!(verdict(&facts, "lockdown").0, Verdict::Good, "it forbids nothing");
        let facts = Facts { fentry: Bpf::Refused("EPERM".to_owned()), ..all_is_well() };
        assert_eq!(
            verdict(&facts, "fentry"),
            (Verdict::Limited, "EPERM: trace uses tracepoints if it can".to_owned())
        );
        let scans = Ok(("proc", "no BPF: why; no perf: why".to_owned()));
        let facts = Facts { perf: Bpf::Refused("EACCES".to_owned()), trace: scans, ..all_is_well() };
        assert_eq!(verdict(&facts, "perf").0, Verdict::Limited);
        let expected = (
            Verdict::Limited,
            "takes proc: BPF and perf are refused (see fentry, tracepoints and perf)".to_owned(),
        );
        assert_eq!(verdict(&facts, "trace"), expected);
        assert_eq!(
            verdict(&Facts { trace: Err("no /proc".to_owned()), ..facts }, "trace").0,
            Verdict::Missing
        );
        let facts = Facts { unreadable_processes: 1, ..all_is_well() };
        assert!(verdict(&facts, "processes").1.contains("even with CAP_SYS_PTRACE"));
        let facts = Facts { btf: Err("No such file".to_owned()), ..all_is_well() };
        assert_eq!(verdict(&facts, "btf").0, Verdict::Missing);
    }
}
