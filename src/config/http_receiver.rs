//! `[endpoint.http]`: where letters go by HTTP, by which login and which receipt rule; secrets and certificates read.

use std::{path::PathBuf, time::Duration};

use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::{
    desk::{CERTIFICATE, Desk, PRIVATE_KEY},
    secret::{Secrets, Vault},
    templates::Fleet,
    wording::Wording,
};
use crate::{
    at,
    document::Step,
    domain::{SecretFile, Text},
    text,
    uplink::{
        Wants,
        http::{
            Credentials, Login, Receiver, Reread, SigningKeyError, SigningKeys,
            config::{LoginSettings, ReceiverUrlError, Settings},
        },
    },
};

/// No exchange is given longer.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Standard Webhooks 1.0: 24 to 64 bytes.
const SHORTEST_KEY: usize = 24;

/// `wants`: what the endpoint is told, for a body template to be tried on.
pub(super) fn http_receiver(
    desk: &mut Desk<'_>,
    n: usize,
    settings: &Settings,
    (wants, fleet): (&Wants, Fleet<'_>),
) -> Option<Receiver> {
    let path = |key| at_key(n, key);
    let wording = Wording {
        table: "http",
        template: settings.template.as_ref(),
        content_type: settings.content_type.as_deref(),
        code_table: settings.code_table.as_deref(),
        codes: &settings.codes,
    };
    let template = wording.checked(desk, n, (wants, fleet));
    let secret = settings.secret.as_ref().and_then(|secret| signing_key(desk, &path("secret"), secret));
    let authorities = authorities(desk, n, settings);
    let identity = identity(desk, n, settings);
    let login = login(desk, n, settings);
    if let Err(why) = settings.accept.compile() {
        let path = at!["endpoint", n, "http", "accept", "body"];
        desk.error(
            path,
            text!("回执规则不是 CEL 表达式：{why}", "the receipt rule is not a CEL expression: {why}"),
        );
    }
    timeout(desk, &path("timeout"), settings.timeout.into());
    if settings.ack_reply.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
        let told = text!("JSON 指针以 / 开头", "a JSON pointer begins with /");
        desk.error_with_help(&path("ack_reply"), told, text!("例如 \"/ack\"", "such as \"/ack\""));
    }
    let url = match settings.address() {
        Ok(url) => url,
        Err(fault) => {
            let help = text!(
                "例如 \"https://inspection.example/alarms\"",
                "such as \"https://inspection.example/alarms\""
            );
            desk.error_with_help(&path("url"), wrong_url(fault), help);
            return None;
        }
    };
    let reread = (desk.vault.secrets == Secrets::Read).then(|| {
        let (vault, settings) = (desk.vault.clone(), settings.clone());
        Reread::by(move || read_again(&vault, &settings))
    });
    Some(Receiver {
        url,
        credentials: Credentials { secret, authorities, identity, login },
        reread,
        accept: settings.accept.clone(),
        timeout: settings.timeout.into(),
        ack_reply: settings.ack_reply.clone(),
        template,
    })
}

/// What was judged when the gateway started, once more: its content may be another.
fn read_again(vault: &Vault, settings: &Settings) -> Result<Credentials, Text> {
    let secret = |named: &SecretFile| vault.read(&named.file)?.secret();
    let pem = |file: &PathBuf| vault.read(file).map(|kept| kept.bytes);
    let identity = match (&settings.cert_file, &settings.key_file) {
        (Some(certificate), Some(key)) => Some(joined(&pem(certificate)?, &pem(key)?)),
        (Some(_), None) | (None, Some(_)) | (None, None) => None,
    };
    let authorities = settings.ca_file.as_ref().map(pem).transpose()?;
    Ok(Credentials {
        secret: settings.secret.as_ref().map(secret).transpose()?,
        authorities: authorities.map(|pem| pem.expose_secret().to_vec()),
        identity,
        login: login_by(settings, |named, _| secret(named))?,
    })
}

/// Certificates and key as one PEM text.
fn joined(certificate: &SecretSlice<u8>, key: &SecretSlice<u8>) -> SecretSlice<u8> {
    [certificate.expose_secret(), b"\n", key.expose_secret()].concat().into()
}

/// The login, its secret had by `secret` from its file, which stands under a key.
fn login_by<E>(
    settings: &Settings,
    mut secret: impl FnMut(&SecretFile, &'static str) -> Result<SecretString, E>,
) -> Result<Option<Login>, E> {
    if let Some(token) = &settings.bearer {
        return secret(token, "bearer").map(|token| Some(Login::Bearer(token)));
    }
    if let Some(LoginSettings { username, password }) = &settings.basic {
        let (username, password) = (username.clone(), secret(password, "basic")?);
        return Ok(Some(Login::Basic { username, password }));
    }
    let Some(LoginSettings { username, password }) = &settings.digest else { return Ok(None) };
    let (username, password) = (username.clone(), secret(password, "digest")?);
    Ok(Some(Login::Digest { username, password }))
}

fn at_key(n: usize, key: &'static str) -> [Step<'static>; 4] {
    ["endpoint".into(), n.into(), "http".into(), key.into()]
}

/// PEM; none at all where secrets are only named, so that a site that was only looked at trusts nobody.
fn authorities(desk: &mut Desk<'_>, n: usize, settings: &Settings) -> Option<Vec<u8>> {
    let file = settings.ca_file.as_ref();
    let pem = file.and_then(|file| desk.pem(&at_key(n, "ca_file"), file, CERTIFICATE));
    match desk.vault.secrets {
        Secrets::Read => pem.map(|pem| pem.expose_secret().to_vec()),
        Secrets::Named => Some(Vec::new()),
    }
}

fn signing_key(desk: &mut Desk<'_>, path: &[Step<'_>], secret: &SecretFile) -> Option<SecretString> {
    let secret = desk.secret(path, secret)?;
    let keys = match SigningKeys::parse(secret.expose_secret()) {
        Ok(keys) => keys,
        Err(fault) => {
            desk.error(path, wrong_key(fault));
            return None;
        }
    };
    if let Some(length) = keys.shortest().filter(|length| *length < SHORTEST_KEY) {
        let told = text!(
            "签名密钥只有 {length} 字节，至少应有 {SHORTEST_KEY}",
            "the signing key has {length} bytes; it should have {SHORTEST_KEY} at least"
        );
        desk.warning(path, told);
    }
    Some(secret)
}

fn wrong_key(fault: SigningKeyError) -> Text {
    match fault {
        SigningKeyError::NotBase64 => {
            text!("whsec_ 或 whsk_ 后面不是 Base64", "what follows whsec_ or whsk_ is not Base64")
        }
        SigningKeyError::Empty => text!("密钥是空的", "the secret is empty"),
        SigningKeyError::NotEd25519 => text!(
            "whsk_ 后面不是 Ed25519 私钥：应是 32 字节种子，或种子加公钥共 64 字节",
            "what follows whsk_ is no Ed25519 key: a seed of 32 bytes, or 64 with its public key"
        ),
        SigningKeyError::TooMany => {
            text!("密钥太多：每行一个，最多 4 个", "too many keys: one a line, 4 at most")
        }
    }
}

fn identity(desk: &mut Desk<'_>, n: usize, settings: &Settings) -> Option<SecretSlice<u8>> {
    match (&settings.cert_file, &settings.key_file) {
        (Some(certificate), Some(key)) => {
            let certificate = desk.pem(&at_key(n, "cert_file"), certificate, CERTIFICATE);
            let key = desk.pem(&at_key(n, "key_file"), key, PRIVATE_KEY);
            let (certificate, key) = certificate.zip(key)?;
            Some(joined(&certificate, &key))
        }
        (Some(_), None) => {
            desk.error(
                &at_key(n, "cert_file"),
                text!("cert_file 需要 key_file", "cert_file needs key_file beside it"),
            );
            None
        }
        (None, Some(_)) => {
            desk.error(
                &at_key(n, "key_file"),
                text!("key_file 需要 cert_file", "key_file needs cert_file beside it"),
            );
            None
        }
        (None, None) => None,
    }
}

fn login(desk: &mut Desk<'_>, n: usize, settings: &Settings) -> Option<Login> {
    let there = [
        ("bearer", settings.bearer.is_some()),
        ("basic", settings.basic.is_some()),
        ("digest", settings.digest.is_some()),
    ];
    let there: Vec<&'static str> =
        there.into_iter().filter(|(_, there)| *there).map(|(key, _)| key).collect();
    if let [first, second, ..] = there[..] {
        let place = desk.document.key_place(&at_key(n, second));
        desk.problems
            .error(place, text!("只能有一种登录：已有 {first}", "there is one login: {first} is it already"));
    }
    let had = login_by(settings, |secret, key| {
        let under = [Step::from("password")];
        let path = [&at_key(n, key)[..], if key == "bearer" { &[] } else { &under }].concat();
        desk.secret(&path, secret).ok_or(())
    });
    had.ok().flatten()
}

fn timeout(desk: &mut Desk<'_>, path: &[Step<'_>], timeout: Duration) {
    if timeout.is_zero() {
        desk.error(path, text!("超时不能为 0", "a timeout of 0 lets nothing through"));
    } else if timeout > LONGEST_TIMEOUT {
        desk.warning(path, text!("超时最多按 20s 算", "no exchange is given more than 20s"));
    }
}

fn wrong_url(fault: ReceiverUrlError) -> Text {
    match fault {
        ReceiverUrlError::NotAUrl => text!("这不是网址", "this is not a URL"),
        ReceiverUrlError::Scheme => {
            text!("应以 https:// 或 http:// 开头", "the scheme is https:// or http://")
        }
        ReceiverUrlError::Login => {
            text!("网址里不写用户名和密码，用 basic", "no user and password in a URL: they go into `basic`")
        }
    }
}
