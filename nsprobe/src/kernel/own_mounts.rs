//! The text of this process's own `/proc/self/mountinfo`, which has a limit as every other reading of mounts has: the
//! kernel climbs over all mounts below one for each, so that 100,000 of them may take minutes.

use nix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io;
use std::time::Duration;

/// What is read of one mount namespace at most: mounts, bytes, and time of a processor.
pub const MOST_MOUNTS: usize = 100_000;
/// Bytes.
pub const MOST_BYTES: usize = 64 << 20;
/// Time of a processor.
pub const MOST_TIME: Duration = Duration::from_secs(1);

/// The whole lines that come within these limits.
pub fn text() -> io::Result<Vec<u8>> {
    whole_lines(File::open("/proc/self/mountinfo")?, MOST_MOUNTS, MOST_BYTES, MOST_TIME)
}

fn whole_lines(mut file: impl io::Read, mounts: usize, bytes: usize, time: Duration) -> io::Result<Vec<u8>> {
    let (mut text, mut part, mut lines) = (Vec::new(), [0; 8 << 10], 0);
    let until = processor_time() + time;
    loop {
        let read = file.read(&mut part)?;
        if read == 0 {
            return Ok(text);
        }
        lines += part[..read].split(|&byte| byte == b'\n').count() - 1;
        text.extend_from_slice(&part[..read]);
        if lines >= mounts || text.len() >= bytes || processor_time() >= until {
            let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            text.truncate(end);
            return Ok(text);
        }
    }
}

/// How long this thread has used a processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_the_limits_allow_and_only_whole_lines() {
        let line = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n";
        let all = line.repeat(3000);
        let hour = Duration::from_hours(1);
        assert_eq!(whole_lines(&all[..], usize::MAX, usize::MAX, hour).unwrap(), all);
        for (mounts, bytes, time) in
            [(10, usize::MAX, hour), (usize::MAX, 5, hour), (usize::MAX, usize::MAX, Duration::ZERO)]
        {
            let read = whole_lines(&all[..], mounts, bytes, time).unwrap();
            assert!(!read.is_empty() && read.len() <= 8 << 10 && read.ends_with(line), "{}", read.len());
        }
        assert_eq!(text().unwrap(), std::fs::read("/proc/self/mountinfo").unwrap());
    }
}
