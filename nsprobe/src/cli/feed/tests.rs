use super::*;
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;

fn pipe(room: usize) -> (io::PipeReader, Feed) {
    let (reader, writer) = io::pipe().unwrap();
    (reader, Feed::new(File::from(OwnedFd::from(writer)).into(), room).unwrap())
}

#[test]
fn a_slow_reader_gets_everything_in_order() {
    let (reader, mut feed) = pipe(1 << 20);
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in BufReader::with_capacity(512, reader).lines() {
            std::thread::sleep(Duration::from_micros(50));
            lines.push(line.unwrap());
        }
        lines
    });
    // More than the pipe holds, and lines longer than a piece.
    let lines: Vec<String> =
        (0..2000).map(|number| format!("{number}{}", "x".repeat(number % 97 * 50))).collect();
    for line in &lines {
        while !feed.push(format!("{line}\n").as_bytes(), true, 0) {
            feed.flush().unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    feed.finish(&mut || false).unwrap();
    assert_eq!(feed.unwritten(), 0);
    drop(feed);
    assert_eq!(reader.join().unwrap(), lines);
}

#[test]
fn what_nobody_reads_is_counted_to_the_line() {
    let (reader, mut feed) = pipe(100_000);
    let line = format!("{}\n", "y".repeat(999));
    let mut taken = 0;
    while feed.push(line.as_bytes(), true, 0) {
        taken += 1;
        feed.flush().unwrap();
    }
    assert!(taken >= 100, "{taken}");
    assert!(feed.push(b"more\n", false, 5));
    let began = Instant::now();
    assert_eq!(feed.finish(&mut || false).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(began.elapsed() >= STILL, "{:?}", began.elapsed());
    let unwritten = feed.unwritten();
    assert!(unwritten > 0, "a pipe does not hold as much");
    // What it holds is what counts as written, and whole lines; the piece that stands still is not written then.
    drop(feed);
    let mut text = String::new();
    let mut lines = BufReader::new(reader);
    while (text.len() as u64) < (taken - unwritten) * 1000 && lines.read_line(&mut text).unwrap() > 0 {}
    assert_eq!(text.lines().count() as u64, taken - unwritten);
    assert!(text.lines().all(|line| line.len() == 999));
}

#[test]
fn room_and_errors_are_news() {
    let (reader, mut feed) = pipe(100_000);
    let is_news = |feed: &Feed| {
        let mut ready = [PollFd::new(feed.news(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::from(10_000_u16)).unwrap() == 1
    };
    // Until the pipe is full too: it takes from the queue meanwhile.
    let takes_more = |feed: &Feed| {
        let mut ready = [PollFd::new(feed.as_fd(), PollFlags::POLLOUT)];
        poll(&mut ready, PollTimeout::ZERO).unwrap() == 1
    };
    let mut taken = 0;
    loop {
        match feed.push(&[b'\n'; 1000], true, 0) {
            true => taken += 1000,
            false if takes_more(&feed) || feed.has_room() => {}
            false => break,
        }
        feed.flush().unwrap();
    }
    let full = !feed.has_room();
    assert!(full, "nobody reads");
    let mut lines = BufReader::new(reader).lines();
    assert!(lines.by_ref().take(taken).all(|line| line.is_ok_and(|line| line.is_empty())));
    assert!(is_news(&feed) && feed.has_room());
    feed.heed();
    drop(lines);
    assert!(feed.push(b"nobody\n", true, 0) && feed.flush().is_ok());
    assert!(is_news(&feed));
    assert_eq!(feed.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(feed.finish(&mut || false).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert!(feed.unwritten() >= 1);
}
