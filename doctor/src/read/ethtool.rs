//! What only a card's driver can say, by the ioctl that `ethtool` uses, and the addresses of interfaces.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::facts::{Adaptive, Card, Channels, Reading, Rings, Unread};

const SIOCETHTOOL: libc::Ioctl = 0x8946;

// The commands of `linux/ethtool.h`, and the number of 32-bit words of each answer.
const GET_COALESCE: (u32, usize) = (0x0e, 23);
const GET_RINGS: (u32, usize) = (0x10, 9);
const GET_TSO: (u32, usize) = (0x1e, 2);
const GET_FLAGS: (u32, usize) = (0x25, 2);
const GET_GRO: (u32, usize) = (0x2b, 2);
const GET_SPREAD: (u32, usize) = (0x38, 2);
const GET_CHANNELS: (u32, usize) = (0x3c, 9);
/// The flag of large receive offload.
const FLAG_LRO: u32 = 1 << 15;
/// The largest table by which a card spreads packets.
const SPREAD_MAX: u32 = 65_536;

/// Asks a card's driver, if it is to be asked.
pub(super) fn card(name: &str, is_loopback: bool, asked: Reading<()>) -> Card {
    let socket = asked.and_then(|()| open());
    let ask = |command: (u32, usize)| -> Reading<Vec<u32>> {
        let mut words = vec![0; command.1];
        words[0] = command.0;
        ask(socket.as_ref().map_err(Clone::clone)?, name, &mut words)?;
        Ok(words)
    };
    let rings = ask(GET_RINGS).map(|words| Rings { receive_max: words[1], receive: words[5] });
    let channels = ask(GET_CHANNELS).map(|words| Channels {
        // Queues for receiving, or for both directions, whichever the driver has.
        max: words[1].max(words[4]),
        used: words[5].max(words[8]),
    });
    let adaptive = ask(GET_COALESCE).map(|words| Adaptive {
        receive_us: words[1],
        receive: words[10] != 0,
        send: words[11] != 0,
    });
    let is_set = |command| ask(command).map(|words| words[1] != 0);
    let size = ask(GET_SPREAD).map(|words| words[1]);
    let spread = size.and_then(|size| {
        if size == 0 || size > SPREAD_MAX {
            return Err(Unread::Absent);
        }
        let mut words = vec![0; 2 + size as usize];
        (words[0], words[1]) = (GET_SPREAD.0, size);
        ask_words(&socket, name, &mut words)?;
        Ok(words.split_off(2))
    });
    Card {
        name: name.to_owned(),
        is_loopback,
        rings,
        channels,
        adaptive,
        gro: is_set(GET_GRO),
        tso: is_set(GET_TSO),
        lro: ask(GET_FLAGS).map(|words| words[1] & FLAG_LRO != 0),
        spread,
    }
}

fn ask_words(socket: &Reading<OwnedFd>, name: &str, words: &mut [u32]) -> Reading<()> {
    ask(socket.as_ref().map_err(Clone::clone)?, name, words)
}

fn open() -> Reading<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| Unread::Failed(format!("a socket: {}", io::Error::from(error))))
}

/// Sends a command, whose answer is put in its place. The kernel writes only as many words as the
/// command has, or as its second word says.
fn ask(socket: &OwnedFd, name: &str, words: &mut [u32]) -> Reading<()> {
    // SAFETY: `ifreq` is made of integers and a pointer, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.as_bytes();
    if bytes.len() >= request.ifr_name.len() {
        return Err(Unread::Absent);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: `request` and the words that it points to live through the call; the length of the words
    // is that of the command's structure in `linux/ethtool.h`.
    let ended = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if ended >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENODEV | libc::EINVAL) => Unread::Absent,
        Some(libc::EPERM | libc::EACCES) => Unread::Denied,
        _ => Unread::Failed(format!("the driver fails: {error}")),
    })
}

/// The addresses of all interfaces.
pub(super) fn interfaces() -> Vec<(String, IpAddr)> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the call writes one pointer.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut next = first;
    // SAFETY: the list is not freed before the end of the loop, and each element points to the next.
    while let Some(element) = unsafe { next.as_ref() } {
        next = element.ifa_next;
        // SAFETY: every element has a name, which ends with a zero.
        let name = unsafe { CStr::from_ptr(element.ifa_name) };
        // SAFETY: an address is absent, or begins with its family and is as long as that says.
        if let Some(address) = unsafe { address(element.ifa_addr) } {
            found.push((name.to_string_lossy().into_owned(), address));
        }
    }
    // SAFETY: the list is from `getifaddrs`, and nothing that points into it is left.
    unsafe { libc::freeifaddrs(first) };
    found
}

/// # Safety
/// The pointer is null, or points to an address that is as long as its family says.
unsafe fn address(at: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: see above.
    let family = i32::from(unsafe { at.as_ref() }?.sa_family);
    match family {
        libc::AF_INET => {
            // SAFETY: the family says that it is one of these, and `read_unaligned` needs no alignment.
            let address = unsafe { at.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { at.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_address_and_no_rings() {
        assert!(interfaces().contains(&("lo".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST))));
        let lo = card("lo", true, Ok(()));
        assert_eq!(lo.rings, Err(Unread::Absent));
        // The kernel itself answers for its own offloads.
        assert_eq!(lo.gro, Ok(true));
    }

    #[test]
    fn a_card_that_is_not_there_is_said_to_be_absent() {
        for name in ["nosuchcard0", "a name that is too long for an interface"] {
            assert_eq!(card(name, false, Ok(())).gro, Err(Unread::Absent));
        }
        let not_asked = Err(Unread::NotAsked("a test"));
        assert_eq!(card("lo", true, not_asked).gro, Err(Unread::NotAsked("a test")));
    }
}
