//! The port of a server that runs: that it listens there, and that a connection is taken.
//!
//! Invariants: what is looked at are the sockets of this very process, so another server on the same
//! machine is never taken for this one. A server that is being stopped has closed its port, and that
//! takes no migration back: the next start goes on with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Check, Verdict};

const NAME: &str = "the server's port";

/// How long a connection to this process may take. The kernel takes it where the queue has room.
const WITHIN: Duration = Duration::from_secs(1);

/// What the kernel calls a socket that listens.
const LISTENS: &str = "0A";

/// Whether this process listens where it is configured to, and takes a connection.
pub(crate) async fn taken(bind: SocketAddr) -> Check {
    let limit = format!(
        "{bind} takes a connection within {} s; pools speak over pipes and socket pairs, and need no port",
        WITHIN.as_secs()
    );
    let found = tokio::task::spawn_blocking(listeners).await;
    let found = match found.map_err(|error| error.to_string()) {
        Ok(Ok(found)) => found,
        Ok(Err(why)) | Err(why) => return Check::unknown(NAME, why, &limit, "mount /proc"),
    };
    let wanted = |address: &SocketAddr| {
        address.ip() == bind.ip() && (bind.port() == 0 || address.port() == bind.port())
    };
    let Some(address) = found.into_iter().find(wanted) else {
        let hint = "the server is being stopped: start it again, and the migration goes on";
        return Check::ok(NAME, format!("nothing listens on {bind}"), &limit)
            .but(Verdict::Warning, hint);
    };
    let (began, connect) = (Instant::now(), TcpStream::connect(reachable(address)));
    let connected = tokio::time::timeout(WITHIN, connect).await;
    let took = began.elapsed().as_secs_f64() * 1000.0;
    let (value, ok) = match connected {
        Ok(Ok(_)) => (
            format!("{address} took a connection within {took:.1} ms"),
            true,
        ),
        Ok(Err(error)) => (format!("{address} takes no connection: {error}"), false),
        Err(_) => (
            format!("{address} took no connection within {took:.0} ms"),
            false,
        ),
    };
    let hint = "its queue of connections is full, or a firewall is between: lower the load, or raise \
                net.core.somaxconn and server.max_connections";
    Check::ok(NAME, value, &limit).only_if(ok, hint)
}

/// Where an address that stands for all of this machine's can be reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Where this process listens.
fn listeners() -> Result<Vec<SocketAddr>, String> {
    let read =
        |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let ours = sockets()?;
    // A kernel without IPv6 has no such table.
    let tables = [
        read("/proc/self/net/tcp")?,
        read("/proc/self/net/tcp6").unwrap_or_default(),
    ];
    let all = tables.iter().flat_map(|table| table.lines().skip(1));
    let listening = all.filter_map(listener);
    Ok(listening
        .filter(|(_, inode)| ours.contains(inode))
        .map(|(address, _)| address)
        .collect())
}

/// The inodes of this process's sockets.
fn sockets() -> Result<Vec<String>, String> {
    let open =
        std::fs::read_dir("/proc/self/fd").map_err(|error| format!("/proc/self/fd: {error}"))?;
    // One that was closed meanwhile is not listened on.
    let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let inode = |link: std::path::PathBuf| {
        let name = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(name.to_owned())
    };
    Ok(links.filter_map(inode).collect())
}

/// The address and the inode of a row that listens.
fn listener(row: &str) -> Option<(SocketAddr, String)> {
    let mut words = row.split_whitespace().skip(1);
    let (local, state) = (words.next()?, words.nth(1)?);
    let inode = words.nth(5)?.to_owned();
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTENS).then_some((SocketAddr::new(address(ip)?, port), inode))
}

/// As the kernel writes it: words of 32 bits, each as a number of this machine.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for (place, bytes) in bytes.chunks_exact_mut(4).enumerate() {
        bytes.copy_from_slice(&word(place * 8)?);
    }
    Some(Ipv6Addr::from(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_listened_on_takes_a_connection() {
        for bind in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = tokio::net::TcpListener::bind(bind).await.unwrap();
            let address = listener.local_addr().unwrap();
            let check = taken(address).await;
            assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
            assert!(check.value.contains(&address.to_string()), "{check:?}");
            drop(listener);
            let check = taken(address).await;
            assert_eq!(check.verdict, Verdict::Warning, "{check:?}");
            assert!(check.value.contains("nothing listens"), "{check:?}");
        }
    }

    #[tokio::test]
    async fn a_queue_that_is_full_takes_none() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        // Nobody accepts: the queue is full after a few.
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await
        {
            waiting.push(stream);
            assert!(waiting.len() < 100, "the queue has an end");
        }
        let check = taken(address).await;
        assert_eq!(check.verdict, Verdict::Unfit, "{check:?}");
        assert!(check.hint.unwrap().contains("somaxconn"));
    }

    #[test]
    fn a_row_of_the_kernel_is_read() {
        let row = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        \
                   0 12345 1 0000000000000000 100 0 0 10 0";
        let (address, inode) = listener(row).unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(address.to_string(), "127.0.0.1:8080");
        }
        assert_eq!(inode, "12345");
        assert!(
            listener(&row.replace(" 0A ", " 01 ")).is_none(),
            "connected"
        );
        assert!(listener("").is_none());
    }
}
