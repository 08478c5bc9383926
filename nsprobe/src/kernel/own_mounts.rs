//! This process's own `/proc/self/mountinfo`, limited like every other reading of mounts: for each mount the kernel
//! climbs over all mounts below it, so that 100,000 of them may take minutes.

use super::mount_room::{ONE, Room, Turn};
use std::fs::File;
use std::io;

/// Returns the whole lines within the limits of one mount namespace.
pub fn text() -> io::Result<Vec<u8>> {
    whole_lines(File::open("/proc/self/mountinfo")?, Room::for_mounts().turn(ONE))
}

fn whole_lines(mut file: impl io::Read, mut turn: Turn) -> io::Result<Vec<u8>> {
    let (mut text, mut part) = (Vec::new(), [0; 8 << 10]);
    loop {
        let read = file.read(&mut part)?;
        if read == 0 {
            return Ok(text);
        }
        text.extend_from_slice(&part[..read]);
        let mut lines = part[..read].split_inclusive(|&byte| byte == b'\n');
        if !lines.all(|line| turn.read(usize::from(line.ends_with(b"\n")), line.len())) {
            let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            text.truncate(end);
            return Ok(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mount_room::Share;
    use super::*;
    use std::time::Duration;

    #[test]
    fn whole_lines_within_limits_are_read() {
        let line = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n";
        let all = line.repeat(3000);
        let of = |mounts, bytes, time| {
            whole_lines(&all[..], Room::for_mounts().turn(Share { mounts, bytes, time })).unwrap()
        };
        let hour = Duration::from_hours(1);
        assert_eq!(of(usize::MAX, usize::MAX, hour), all);
        for (mounts, bytes, time) in
            [(10, usize::MAX, hour), (usize::MAX, 5, hour), (usize::MAX, usize::MAX, Duration::ZERO)]
        {
            let read = of(mounts, bytes, time);
            assert!(!read.is_empty() && read.len() <= 8 << 10 && read.ends_with(line), "{}", read.len());
        }
        assert_eq!(text().unwrap(), std::fs::read("/proc/self/mountinfo").unwrap());
    }
}
