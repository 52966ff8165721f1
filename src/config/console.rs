//! `[console]`: where it listens, what it is called, and what it shows to be believed.

use std::net::{IpAddr, SocketAddr};

use secrecy::ExposeSecret;

use super::{
    desk::{CERTIFICATE, Desk, PRIVATE_KEY},
    file::ConsoleTable,
};
use crate::{
    at,
    console::{
        config::{Settings, TlsFiles},
        tls,
    },
    text,
};

pub(super) fn console(desk: &mut Desk<'_>, table: &ConsoleTable) -> Option<Settings> {
    let listen = listen(desk, table);
    hosts(desk, &table.hosts);
    let proxies = proxies(desk, &table.trusted_proxies);
    let tls = tls_files(desk, table);
    Some(Settings { listen: listen?, hosts: table.hosts.clone(), proxies, tls })
}

fn listen(desk: &mut Desk<'_>, table: &ConsoleTable) -> Option<SocketAddr> {
    let (path, written) = (at!["console", "listen"], &table.listen);
    match written.parse::<SocketAddr>() {
        Ok(address) => {
            if !address.ip().is_loopback() && table.cert_file.is_none() {
                let told = text!(
                    "这个地址上没有加密：网上的人能看到令牌和报警",
                    "nothing is encrypted at this address: whoever is on the network can see tokens and alarms"
                );
                let help = text!(
                    "写 cert_file 和 key_file，或只听 127.0.0.1、由反向代理加密",
                    "set cert_file and key_file, or stay on 127.0.0.1 behind a proxy that encrypts"
                );
                desk.warning_with_help(path, told, help);
            }
            Some(address)
        }
        Err(_not_an_address) => {
            let told =
                text!("\"{written}\" 不是 IP 地址加端口", "\"{written}\" is not an IP address with a port");
            desk.error_with_help(path, told, text!("例如 \"127.0.0.1:8480\"", "such as \"127.0.0.1:8480\""));
            None
        }
    }
}

/// As they stand in a request's `Host`, without the port.
fn hosts(desk: &mut Desk<'_>, hosts: &[String]) {
    for (n, host) in hosts.iter().enumerate() {
        let letters = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        if host.is_empty() || !host.chars().all(letters) || host.parse::<IpAddr>().is_ok() {
            let told = text!(
                "\"{host}\" 不是主机名（不带 http://、端口；IP 地址不用写）",
                "\"{host}\" is no host name (without http:// and port; addresses need not be named)"
            );
            desk.error(at!["console", "hosts", n], told);
        }
    }
}

fn proxies(desk: &mut Desk<'_>, written: &[String]) -> Vec<IpAddr> {
    let mut proxies = Vec::new();
    for (n, address) in written.iter().enumerate() {
        match address.parse::<IpAddr>() {
            Ok(address) => proxies.push(address.to_canonical()),
            Err(_not_an_address) => {
                let told = text!("\"{address}\" 不是 IP 地址", "\"{address}\" is no IP address");
                let help = text!("例如 \"127.0.0.1\"", "such as \"127.0.0.1\"");
                desk.error_with_help(at!["console", "trusted_proxies", n], told, help);
            }
        }
    }
    proxies
}

fn tls_files(desk: &mut Desk<'_>, table: &ConsoleTable) -> Option<TlsFiles> {
    let (certificate, key) = match (&table.cert_file, &table.key_file) {
        (None, None) => return None,
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => {
            let told = text!("有 cert_file 就要有 key_file", "a cert_file needs its key_file");
            desk.error(at!["console", "cert_file"], told);
            return None;
        }
        (None, Some(_)) => {
            let told = text!("有 key_file 就要有 cert_file", "a key_file needs its cert_file");
            desk.error(at!["console", "key_file"], told);
            return None;
        }
    };
    let shown = desk.pem(at!["console", "cert_file"], certificate, CERTIFICATE);
    let kept = desk.pem(at!["console", "key_file"], key, PRIVATE_KEY);
    if let (Some(shown), Some(kept)) = (shown, kept)
        && let Err(why) = tls::server(shown.expose_secret(), kept.expose_secret())
    {
        let told = text!("证书和密钥不能用：{why}", "failed to {why}");
        desk.error(at!["console", "cert_file"], told);
    }
    Some(TlsFiles { certificate: desk.vault.find(certificate), key: desk.vault.find(key) })
}
