//! Names to addresses, refusing an answer that points a remote receiver's name back at this box.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The system's resolver; it waits on its own thread, never on the runtime's.
pub struct Resolver;

#[derive(Debug, thiserror::Error)]
#[error("find {name}: its address is this box itself, which only `localhost` may be")]
pub struct PointsHere {
    pub name: String,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // the port is the connection's, set later
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect::<Vec<_>>();
            Ok(Box::new(elsewhere(name.as_str(), found)?.into_iter()) as Addrs)
        })
    }
}

fn elsewhere(name: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, PointsHere> {
    let local_by_name = name.eq_ignore_ascii_case("localhost");
    let (here, there): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| is_here(address.ip()));
    match (local_by_name, there.is_empty()) {
        (true, _) => Ok(here),
        (false, true) if !here.is_empty() => Err(PointsHere { name: name.to_owned() }),
        (false, _) => Ok(there),
    }
}

fn is_here(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_localhost_may_be_this_box() {
        // (name, what the resolver says, what is left of it)
        let facts = [
            ("inspection.example", "192.0.2.7:0", Some("192.0.2.7:0")),
            ("inspection.example", "127.0.0.1:0 192.0.2.7:0", Some("192.0.2.7:0")),
            ("inspection.example", "127.0.0.1:0", None),
            ("inspection.example", "[::ffff:127.8.8.8]:0 [::1]:0 0.0.0.0:0", None),
            ("LocalHost", "127.0.0.1:0 [::1]:0", Some("127.0.0.1:0 [::1]:0")),
            ("inspection.example", "", Some("")),
        ];
        let addresses =
            |text: &str| text.split_whitespace().map(|one| one.parse().unwrap()).collect::<Vec<SocketAddr>>();
        for (name, found, expected) in facts {
            let kept = elsewhere(name, addresses(found)).ok();
            assert_eq!(kept, expected.map(addresses), "{name}: {found}");
        }
    }
}
