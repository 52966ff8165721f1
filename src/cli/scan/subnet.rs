//! A private network to look through for Modbus TCP: bounded, and never the internet.

use std::{fmt, net::Ipv4Addr, str::FromStr, time::Duration};

use tokio::task::JoinSet;

use crate::{
    domain::{Diagnosis, LineFault},
    fieldbus::{modbus::config::TcpSettings, port},
    text,
};

const MODBUS_PORT: u16 = 502;
/// 1024 addresses: four floors' worth, in seconds.
const WIDEST: u8 = 22;
/// So many connections are tried at once.
const AT_ONCE: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl FromStr for Subnet {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (base, prefix) = text.split_once('/').ok_or("write a network such as 192.168.1.0/24")?;
        let base: Ipv4Addr = base.parse().map_err(|_| "write a network such as 192.168.1.0/24")?;
        let prefix: u8 = prefix.parse().map_err(|_| "write a network such as 192.168.1.0/24")?;
        if !(base.is_private() || base.is_loopback()) {
            return Err("only private networks are scanned: 10.…, 172.16.… to 172.31.…, 192.168.…");
        }
        if !(WIDEST..=32).contains(&prefix) {
            return Err("a network of 1024 addresses at most: /22 to /32");
        }
        let mask = u32::MAX << (32 - u32::from(prefix));
        Ok(Self { base: u32::from(base) & mask, prefix })
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl Subnet {
    pub fn len(&self) -> usize {
        1 << (32 - self.prefix)
    }

    /// Why nobody was found in it.
    pub fn nobody(&self) -> Diagnosis {
        let why = text!(
            "{self} 里没有主机接受 {MODBUS_PORT} 端口的连接",
            "no host of {self} takes a connection on port {MODBUS_PORT}"
        );
        LineFault::down(why).diagnosis()
    }

    /// Without the network's own address and its broadcast, where it has them.
    fn hosts(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let last = self.base + (self.len() as u32 - 1);
        let (first, last) = if self.prefix < 31 { (self.base + 1, last - 1) } else { (self.base, last) };
        (first..=last).map(Ipv4Addr::from)
    }

    /// Those that take a connection on port 502.
    pub async fn listening(&self, patience: Duration) -> Vec<TcpSettings> {
        let mut hosts = self.hosts();
        let (mut knocks, mut open) = (JoinSet::new(), Vec::new());
        loop {
            while knocks.len() < AT_ONCE
                && let Some(host) = hosts.next()
            {
                knocks.spawn(async move {
                    let connected = port::connect_within(&host.to_string(), MODBUS_PORT, patience).await;
                    connected.is_ok().then_some(host)
                });
            }
            match knocks.join_next().await {
                Some(knocked) => open.extend(knocked.ok().flatten()),
                None => break,
            }
        }
        open.sort();
        open.into_iter().map(|host| TcpSettings { host: host.to_string(), port: MODBUS_PORT }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_private_networks_are_looked_through() {
        for (text, expected) in [
            ("192.168.1.0/24", Some(("192.168.1.0/24", 254))),
            ("192.168.1.77/24", Some(("192.168.1.0/24", 254))),
            ("10.0.0.0/22", Some(("10.0.0.0/22", 1022))),
            ("127.0.0.4/31", Some(("127.0.0.4/31", 2))),
            ("127.0.0.4/32", Some(("127.0.0.4/32", 1))),
            ("10.0.0.0/21", None),
            ("8.8.8.0/24", None),
            ("172.32.0.0/24", None),
            ("192.168.1.0", None),
            ("192.168.1.0/33", None),
            ("fe80::/64", None),
        ] {
            let found =
                text.parse::<Subnet>().ok().map(|subnet| (subnet.to_string(), subnet.hosts().count()));
            assert_eq!(found, expected.map(|(shown, hosts)| (shown.to_owned(), hosts)), "{text}");
        }
    }
}
