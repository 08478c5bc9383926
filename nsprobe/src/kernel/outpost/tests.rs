use super::*;
use std::fs::File;

/// Returns each job's answer as text.
fn said(jobs: &[u32], work: impl FnMut(&u32) -> Reply) -> Vec<String> {
    let mut said = Vec::new();
    each(jobs, &[], &mut Duration::from_millis(750), work, |_, answer| {
        said.push(match answer {
            Answer::Done(Reply { bytes, .. }) => {
                bytes.map_or("nothing".to_owned(), |bytes| String::from_utf8(bytes).unwrap())
            }
            other => format!("{other:?}"),
        });
    });
    said
}

#[test]
fn waiting_job_is_abandoned_and_the_rest_done() {
    let jobs: Vec<u32> = (0..50).collect();
    let attempt = || {
        said(&jobs, |&job| {
            if job == 7 {
                std::thread::sleep(Duration::from_secs(1000));
            }
            (job != 8).then(|| job.to_string().into_bytes()).into()
        })
    };
    let expected = |job: &u32| match job {
        7 => "Waiting".to_owned(),
        8 => "nothing".to_owned(),
        job => job.to_string(),
    };
    let expected: Vec<String> = jobs.iter().map(expected).collect();
    // On a busy machine the total time may run out before the last is done.
    let end = Instant::now() + Duration::from_mins(1);
    let mut said = attempt();
    while said != expected && Instant::now() < end {
        said = attempt();
    }
    assert_eq!(said, expected);
}

#[test]
fn total_waiting_is_bounded() {
    let begin = Instant::now();
    let said = said(&[0; 100], |_| {
        std::thread::sleep(Duration::from_secs(1000));
        Reply::default()
    });
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert!((1..=3).contains(&said.iter().filter(|&said| said == "Waiting").count()), "{said:?}");
    assert_eq!(said[99], "NotBegun(OutOfTime)");
}

#[test]
fn child_has_two_descriptors_and_passes_others() {
    let keep = File::open("/dev/null").unwrap();
    let work = |&(): &()| {
        let count = std::fs::read_dir("/proc/self/fd").unwrap().count();
        let descriptor = File::open("/proc/self/ns/net").unwrap().into();
        Reply { bytes: Some(vec![u8::try_from(count).unwrap()]), descriptor: Some(descriptor) }
    };
    let mut answers = Vec::new();
    each(&[()], &[keep.as_fd()], &mut Duration::from_secs(1), work, |(), answer| answers.push(answer));
    let Some(Answer::Done(reply)) = answers.pop() else { panic!("{answers:?}") };
    // The third is the directory being read.
    assert_eq!(reply.bytes, Some(vec![3]));
    let identity = |file: &File| crate::kernel::nsfs::identity(file.as_fd()).unwrap();
    let expected = File::open("/proc/self/ns/net").unwrap();
    assert_eq!(identity(&File::from(reply.descriptor.unwrap())), identity(&expected));
}
#[test]
fn killed_child_has_ended_and_the_next_continues() {
    let said = said(&[0, 1, 2], |&job| {
        if job == 1 {
            kill(getpid(), Signal::SIGKILL).unwrap();
        }
        Some(job.to_string().into_bytes()).into()
    });
    assert_eq!(said, ["0", "Ended", "2"]);
}

/// Runs a job while this many children cannot end, and again once they have; the exit code shows the result.
fn at_the_limit() -> i32 {
    let spawn = |_| std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let mut children: Vec<_> = (0..MOST_STUCK).map(spawn).collect();
    let pid = |child: &std::process::Child| Pid::from_raw(i32::try_from(child.id()).unwrap());
    let done = || said(&[0], |_| Some(b"done".to_vec()).into()).remove(0);
    stuck().extend(children[1..].iter().map(pid));
    let below = done();
    stuck().push(pid(&children[0]));
    let at = done();
    for child in &mut children {
        child.kill().unwrap();
    }
    // Reaped by the call itself, once they have ended.
    let mut after = done();
    let end = Instant::now() + Duration::from_secs(20);
    while after != "done" && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
        after = done();
    }
    let all_reaped = || waitpid(None, Some(WaitPidFlag::WNOHANG)) == Err(Errno::ECHILD);
    while !all_reaped() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
        drop(stuck());
    }
    match (below.as_str(), at.as_str(), after.as_str()) {
        ("done", "NotBegun(TooManyStuck)", "done") if all_reaped() => 0,
        ("done", "NotBegun(TooManyStuck)", _) => 1,
        ("done", ..) => 2,
        _ => 3,
    }
}

#[test]
fn no_more_children_than_a_limit_are_left_behind() {
    // In a process of its own: the count is per process. No other thread holds the lock in the copy.
    let lock = stuck();
    // SAFETY: as for the children themselves; it ends by _exit(2).
    match unsafe { nix::unistd::fork() }.unwrap() {
        ForkResult::Child => {
            drop(lock);
            let code = catch_unwind(at_the_limit).unwrap_or(4);
            // SAFETY: ends the child and does nothing else.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => {
            drop(lock);
            let ended = waitpid(child, None).unwrap();
            assert_eq!(ended, nix::sys::wait::WaitStatus::Exited(child, 0));
        }
    }
    let said = Answer::NotBegun(Reason::TooManyStuck).reply().unwrap_err().to_string();
    assert!(said.contains("8 child processes"), "{said}");
}
