//! The ids of other network namespaces in the caller's: `RTM_GETNSID`, rtnetlink(7), Linux 4.0.

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// Size of `struct nlmsghdr`, alone and followed by a `struct rtgenmsg`.
const HEADER: usize = 16;
const BODY: usize = HEADER + 4;

/// A socket to the kernel's routing service in the caller's network namespace.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Rtnetlink {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let (family, flags) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
        let socket = socket(family, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Returns the id of the network namespace behind `namespace`; `None` if none has been assigned. The query does not
    /// assign one.
    pub fn netns_id(&mut self, namespace: BorrowedFd<'_>) -> io::Result<Option<u32>> {
        self.sequence += 1;
        let fd = u32::try_from(namespace.as_raw_fd()).map_err(io::Error::other)?;
        let socket = self.socket.as_raw_fd();
        send(socket, &request(self.sequence, fd), MsgFlags::empty())?;
        let mut reply = [0; 1024];
        loop {
            let length = recv(socket, &mut reply, MsgFlags::empty())?;
            // Skip the answer to an earlier query that was interrupted.
            if let Some(answer) = answer(&reply[..length], self.sequence) {
                return answer;
            }
        }
    }
}

fn request(sequence: u32, fd: u32) -> [u8; BODY + 8] {
    let mut message = [0; BODY + 8];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &28_u32.to_ne_bytes());
    put(4, &RTM_GETNSID.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    put(8, &sequence.to_ne_bytes());
    put(BODY, &8_u16.to_ne_bytes());
    put(BODY + 2, &NETNSA_FD.to_ne_bytes());
    put(BODY + 4, &fd.to_ne_bytes());
    message
}

/// Decodes a message; `None` if it answers a different query.
fn answer(message: &[u8], sequence: u32) -> Option<io::Result<Option<u32>>> {
    let malformed = || Some(Err(io::Error::other("rtnetlink returned a malformed answer")));
    let (Some(length), Some(kind), Some(answered)) =
        (u32_at(message, 0), u16_at(message, 4), u32_at(message, 8))
    else {
        return malformed();
    };
    if answered != sequence {
        return None;
    }
    let Some(message) = message.get(..length as usize) else { return malformed() };
    match kind {
        NLMSG_ERROR => match u32_at(message, HEADER) {
            Some(error) => Some(Err(io::Error::from_raw_os_error(error.cast_signed().saturating_neg()))),
            None => malformed(),
        },
        RTM_NEWNSID => match attribute(message.get(BODY..)?, NETNSA_NSID).map(|value| u32_at(value, 0)) {
            // NETNSA_NSID_NOT_ASSIGNED is -1.
            Some(Some(id)) => Some(Ok((id != u32::MAX).then_some(id))),
            _ => malformed(),
        },
        _ => malformed(),
    }
}

/// Returns the value of the first attribute of a type: rtnetlink(7), `struct rtattr`.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    fn reply(kind: u16, sequence: u32, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + rest.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0, 0]);
        message.extend(sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(rest);
        message
    }

    fn number(id: i32) -> Vec<u8> {
        // A different attribute, of five bytes, comes first.
        let mut rest = vec![0; 4];
        for (kind, value) in [(9_u16, &[1, 2, 3, 4, 5][..]), (NETNSA_NSID, &id.to_ne_bytes()[..])] {
            rest.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            rest.extend(kind.to_ne_bytes());
            rest.extend(value);
            rest.resize(rest.len().next_multiple_of(4), 0);
        }
        rest
    }

    #[test]
    fn answer_is_an_id_none_or_an_error() {
        assert_eq!(answer(&reply(RTM_NEWNSID, 7, &number(3)), 7).unwrap().unwrap(), Some(3));
        assert_eq!(answer(&reply(RTM_NEWNSID, 7, &number(-1)), 7).unwrap().unwrap(), None);
        let error = answer(&reply(NLMSG_ERROR, 7, &(-libc::EINVAL).to_ne_bytes()), 7).unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        assert!(answer(&reply(RTM_NEWNSID, 6, &number(3)), 7).is_none(), "another question's");
    }

    #[test]
    fn truncated_answer_is_an_error() {
        let whole = reply(RTM_NEWNSID, 7, &number(3));
        for end in 0..whole.len() {
            assert!(answer(&whole[..end], 7).unwrap().is_err(), "{end}");
        }
        assert!(answer(&reply(RTM_NEWNSID, 7, &[0; 64]), 7).unwrap().is_err(), "attributes of no length");
        assert!(answer(&reply(99, 7, &[]), 7).unwrap().is_err());
    }

    #[test]
    fn kernel_answers_a_query() {
        let own = std::fs::File::open("/proc/self/ns/net").unwrap();
        let mut rtnetlink = Rtnetlink::open().unwrap();
        // It may have no id; what counts is that there is an answer.
        assert!(rtnetlink.netns_id(own.as_fd()).is_ok());
        let other = std::fs::File::open("/proc/self/ns/uts").unwrap();
        let error = rtnetlink.netns_id(other.as_fd()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "a uts namespace has none");
    }
}
