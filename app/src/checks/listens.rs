//! On which addresses this process really listens.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Check;

/// In the kernel's tables: a socket that listens.
const LISTEN: &str = "0A";

/// Whether the server listens. A candidate needs no port: its workers speak over sockets that they
/// inherit.
pub(crate) fn ports() -> Check {
    let name = "ports";
    let limit = "the server's own; the candidate needs none";
    match listening() {
        Err(error) => Check::unknown(name, error, limit, "mount /proc"),
        Ok(addresses) if addresses.is_empty() => {
            let hint = "see the server's log: it should listen on server.bind";
            Check::ok(name, "this process listens nowhere", limit).only_if(false, hint)
        }
        Ok(addresses) => {
            let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            Check::ok(
                name,
                format!("listening on {}", addresses.join(", ")),
                limit,
            )
        }
    }
}

fn listening() -> std::io::Result<BTreeSet<SocketAddr>> {
    let mut ours = BTreeSet::new();
    for open in std::fs::read_dir("/proc/self/fd")? {
        // One that was closed meanwhile leads nowhere.
        let Ok(target) = std::fs::read_link(open?.path()) else {
            continue;
        };
        let target = target.to_string_lossy();
        let inode = target
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        ours.extend(inode.map(str::to_owned));
    }
    let mut addresses = BTreeSet::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        // A machine without IPv6 has no table of it.
        let Ok(text) = std::fs::read_to_string(table) else {
            continue;
        };
        let rows = text.lines().skip(1).filter_map(|row| {
            let mut fields = row.split_whitespace();
            let (local, state) = (fields.nth(1)?, fields.nth(1)?);
            let inode = fields.nth(5)?;
            (state == LISTEN && ours.contains(inode)).then(|| address(local))?
        });
        addresses.extend(rows);
    }
    Ok(addresses)
}

/// `0100007F:1F90` as an address: words in the machine's own order, the port in hex.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for word in host.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(host) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some((Ipv4Addr::from(host), port).into());
    }
    let host = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some((Ipv6Addr::from(host), port).into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_that_listens_is_found_by_its_address_until_it_is_closed() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = TcpListener::bind(host) else {
                // No IPv6 here.
                continue;
            };
            let address = socket.local_addr().unwrap();
            assert!(listening().unwrap().contains(&address), "{address}");
            assert!(ports().value.contains(&address.to_string()));
            drop(socket);
            assert!(!listening().unwrap().contains(&address), "{address}");
        }
    }
}
