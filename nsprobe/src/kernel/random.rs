//! Unpredictable numbers: getrandom(2).

use std::io;

/// Returns random bytes without waiting: a machine that has just started may lack entropy.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    const { assert!(N <= 256, "of more getrandom(2) may give fewer") };
    let mut bytes = [0; N];
    // SAFETY: the kernel writes at most as many bytes as the array has, which outlives the call.
    let mut get = |flags| unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, flags) };
    let mut length = get(libc::GRND_NONBLOCK);
    if length < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN) {
        // Linux 5.6.
        length = get(libc::GRND_INSECURE);
    }
    match usize::try_from(length) {
        Ok(length) if length == N => Ok(bytes),
        Ok(length) => Err(io::Error::other(format!("getrandom(2) returned {length} of {N} bytes"))),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ() {
        assert_ne!(bytes::<16>().unwrap(), bytes::<16>().unwrap());
    }
}
