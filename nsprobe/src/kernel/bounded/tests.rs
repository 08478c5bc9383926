use super::*;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::sleep;

#[test]
fn every_item_is_processed_once_in_order() {
    for count in [0, 1, 2, 63, 1000] {
        for threads in [1, 2, 5] {
            let items: Vec<usize> = (0..count).collect();
            let done = Arc::new(AtomicUsize::new(0));
            let of_threads = Arc::clone(&done);
            let mut reading = Reading::in_threads(items.clone(), threads, move |&item, _| {
                of_threads.fetch_add(1, Ordering::Relaxed);
                item
            });
            while !reading.wait(Duration::MAX) {}
            let results: Vec<usize> = reading.take().into_iter().map(Result::unwrap).collect();
            assert_eq!((results, done.load(Ordering::Relaxed)), (items, count), "{threads} threads");
        }
    }
}

/// A gate that threads wait at, one behind the other, until the sender is dropped.
fn gate() -> (Sender<()>, impl Fn() + Send + Sync) {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    (go, move || drop(wait.lock().map(|wait| wait.recv())))
}

#[test]
fn stuck_items_are_abandoned_and_the_rest_done() {
    let begun = Instant::now();
    let (go, wait) = gate();
    let results = each((0..300).collect(), move |&item: &u32, _| {
        // Used as pids: no other test reads these.
        begin(4_100_000_000 + item);
        if item % 20 == 7 {
            wait();
        }
        item
    });
    assert_eq!(results.len(), 300);
    for (item, result) in (0..).zip(results) {
        let stuck = item % 20 == 7;
        let expected = if stuck { Err(Stuck::Process(4_100_000_000 + item)) } else { Ok(item) };
        assert_eq!(result, expected);
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
    // No thread waits for the same process a second time.
    let enter = || one(|_| enter(4_100_000_027, 4_100_000_000, Vec::new)).unwrap();
    assert_eq!(enter(), Err(Stuck::Process(4_100_000_027)));
    drop(go);
    while enter().is_err() {
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn waits_do_not_add_up() {
    let (go, wait) = gate();
    let together = Arc::new(AtomicUsize::new(0));
    let of_threads = Arc::clone(&together);
    let results = each((0..64).collect(), move |&item: &u32, _| {
        begin(4_150_000_000 + item);
        // The first one is still waited for.
        if enter(4_150_000_000, 4_150_000_000, Vec::new).is_ok() {
            of_threads.fetch_add(1, Ordering::Relaxed);
        }
        wait();
    });
    assert!(results.iter().all(Result::is_err));
    let together = together.load(Ordering::Relaxed);
    assert!((16..=MOST_AT_ONCE).contains(&together), "{together}");
    drop(go);
}

#[test]
fn serial_waits_get_shorter() {
    let begun = Instant::now();
    let (go, wait) = gate();
    let wait = Arc::new(wait);
    for item in 0..30 {
        let wait = Arc::clone(&wait);
        let result = one(move |_| {
            begin(4_170_000_000 + item);
            wait();
        });
        assert_eq!(result, Err(Stuck::Process(4_170_000_000 + item)));
    }
    // The first one has a quarter of a second.
    assert!(begun.elapsed() < Duration::from_millis(250) * 30, "{:?}", begun.elapsed());
    // A thread that does not sleep is not abandoned, even now.
    assert_eq!(one(|_| (0..1_000_000_u64).fold(0, |sum, number| sum ^ std::hint::black_box(number))), Ok(0));
    drop(go);
}

#[test]
fn reader_of_a_runnable_process_has_more_time() {
    let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let pid = busy.id();
    let result = one(move |_| {
        begin(pid);
        sleep(Duration::from_millis(400));
    });
    busy.kill().unwrap();
    busy.wait().unwrap();
    assert_eq!(result, Ok(()));
}

#[test]
fn busy_thread_is_not_abandoned() {
    let end = Instant::now() + TICK * 24;
    let busy = one(move |_| {
        let mut turns = 0_u64;
        while Instant::now() < end {
            turns = std::hint::black_box(turns + 1);
        }
        turns
    });
    assert!(busy.is_ok());
    // Nor is one that sleeps again and again, even for longer than one item should take: each time it has made
    // progress.
    let slow = one(|_| (0..60).for_each(|_| sleep(Duration::from_millis(7))));
    assert!(slow.is_ok());
}

#[test]
fn threads_stuck_on_one_tenant_are_bounded() {
    let (go, wait) = gate();
    let results = each((0..100).collect(), move |&item: &u32, _| {
        begin(4_200_000_000 + item);
        enter(4_200_000_000 + item, 4_200_000_000, Vec::new)?;
        wait();
        Ok(())
    });
    let stuck = results.iter().filter(|result| result.is_err()).count();
    assert!((8..=8 + MOST_AT_ONCE).contains(&stuck), "{stuck}");
    assert!(matches!(results[99], Ok(Err(Stuck::Tenant))), "{:?}", results[99]);
    // Another user's are read.
    assert_eq!(one(|_| enter(4_200_000_500, 4_200_000_001, Vec::new)), Ok(Ok(())));
    drop(go);
}

#[test]
fn panic_is_propagated() {
    let panicked = catch_unwind(|| one(|_| assert!(std::hint::black_box(false), "on purpose")));
    assert!(panicked.is_err());
}

#[test]
fn dropped_reading_starts_no_more_items() {
    let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (of_threads, may_go) = (Arc::clone(&begun), Arc::clone(&go));
    let reading = Reading::in_threads((0..1000).collect(), 1, move |_: &u32, _| {
        of_threads.fetch_add(1, Ordering::Relaxed);
        while !may_go.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(1));
        }
    });
    drop(reading);
    go.store(true, Ordering::Relaxed);
    assert!(begun.load(Ordering::Relaxed) <= 1);
}

#[test]
fn captured_values_are_released() {
    let descriptor = Arc::new(());
    for threads in [1, 2, 5] {
        for _ in 0..500 {
            let items = vec![Arc::clone(&descriptor); 3];
            let captured = Arc::clone(&descriptor);
            let mut reading = Reading::in_threads(items, threads, move |_, _| Arc::strong_count(&captured));
            while !reading.wait(Duration::MAX) {}
            let results = reading.take();
            assert_eq!(Arc::strong_count(&descriptor), 1, "{threads} threads, {results:?}");
        }
    }
    let captured = Arc::clone(&descriptor);
    let panicked = catch_unwind(|| one(move |_| assert!(Arc::strong_count(&captured) == 0, "on purpose")));
    assert!(panicked.is_err());
    assert_eq!(Arc::strong_count(&descriptor), 1);
}
