//! Why there is no connection to the broker, for people.

use std::{error::Error, io, iter};

use rumqttc::{ConnectReturnCode, ConnectionError, StateError};
use rustls::{AlertDescription, CertificateError};

use crate::{
    domain::{HindranceKind, Text},
    text,
};

/// What it comes to in both languages, with the library's own words behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub kind: HindranceKind,
    pub text: Text,
    /// What came was no MQTT: the next connection will be no better.
    pub nonsense: bool,
}

impl Reason {
    /// The connection does not stand.
    pub fn of(text: Text) -> Self {
        Self { kind: HindranceKind::Unreachable, text, nonsense: false }
    }

    pub fn other(error: &dyn Error) -> Self {
        Self::of(text!("{error}", "{error}"))
    }
}

pub fn reason(error: &ConnectionError) -> Reason {
    // the library wraps it in several ways
    if let Some(fault) = io_fault(error) {
        return match of_io(fault) {
            Some(words) => with_own_words(words, error),
            None => Reason::other(error),
        };
    }
    match error {
        ConnectionError::ConnectionRefused(code) => with_own_words(of_code(*code), error),
        ConnectionError::MqttState(StateError::ConnectionAborted) => with_own_words(closed(), error),
        ConnectionError::NetworkTimeout
        | ConnectionError::FlushTimeout
        | ConnectionError::MqttState(StateError::AwaitPingResp) => with_own_words(silent(), error),
        ConnectionError::NotConnAck(_) | ConnectionError::MqttState(_) => {
            let told = text!(
                "对方说的不是 MQTT，请检查地址和端口",
                "what answers does not speak MQTT: check host and port"
            );
            Reason { nonsense: true, ..with_own_words((HindranceKind::Unexpected, told), error) }
        }
        _ => Reason::other(error),
    }
}

fn io_fault(error: &ConnectionError) -> Option<&io::Error> {
    let mut causes = iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source());
    causes.find_map(|cause| cause.downcast_ref())
}

/// A kind and what it comes to.
type Told = (HindranceKind, Text);

fn with_own_words((kind, told): Told, error: &ConnectionError) -> Reason {
    let Text { zh, en } = told;
    Reason { kind, ..Reason::of(text!("{zh}（{error}）", "{en} ({error})")) }
}

fn closed() -> Told {
    let told = text!(
        "消息服务器断开了连接（重启，或有人用同一个 client_id 登录）",
        "the broker closed the connection: it restarts, or somebody else uses the same client_id"
    );
    (HindranceKind::NoReply, told)
}

fn silent() -> Told {
    (HindranceKind::NoReply, text!("消息服务器没有应答", "the broker does not answer"))
}

fn of_io(fault: &io::Error) -> Option<Told> {
    if let Some(tls) = fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Some(of_tls(tls));
    }
    match fault.kind() {
        io::ErrorKind::ConnectionRefused => {
            let told = text!(
                "连接被拒绝：消息服务器没有运行，或端口不对",
                "connection refused: no broker runs there, or the port is wrong"
            );
            Some((HindranceKind::Unreachable, told))
        }
        io::ErrorKind::TimedOut => Some(silent()),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Some((HindranceKind::Unreachable, text!("网络不通", "there is no way to the broker's network")))
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(closed()),
        // the standard library has no kind for it
        _ if fault.to_string().contains("lookup address") => Some((
            HindranceKind::Unreachable,
            text!(
                "主机名解析不到地址：请检查 url 和域名服务",
                "the host's name has no address: check url and name server"
            ),
        )),
        _ => None,
    }
}

fn of_tls(error: &rustls::Error) -> Told {
    match error {
        rustls::Error::InvalidCertificate(fault) => of_certificate(fault),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::HandshakeFailure,
        ) => (
            HindranceKind::OwnCertificateRefused,
            text!(
                "消息服务器不接受我们的证书：请检查 cert_file 和 key_file",
                "the broker does not accept our certificate: check cert_file and key_file"
            ),
        ),
        rustls::Error::InvalidMessage(_) => (
            HindranceKind::NotTls,
            text!(
                "对方没有用 TLS 应答：端口不对，或应写 mqtt://",
                "what answers does not speak TLS: the port is wrong, or it should be mqtt://"
            ),
        ),
        _ => (HindranceKind::CertificateUnacceptable, text!("TLS 握手失败", "the TLS handshake failed")),
    }
}

fn of_certificate(fault: &CertificateError) -> Told {
    match fault {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            HindranceKind::CertificateUnknownIssuer,
            text!(
                "消息服务器的证书不是可信机构签发的：请检查 ca_file",
                "nobody we trust vouches for the broker's certificate: check ca_file"
            ),
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            HindranceKind::CertificateExpired,
            text!(
                "消息服务器的证书已过期（或网关时钟不对）",
                "the broker's certificate has expired, or the clock of this box is wrong"
            ),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            HindranceKind::CertificateNotYetValid,
            text!(
                "消息服务器的证书尚未生效（或网关时钟不对）",
                "the broker's certificate is not valid yet, or the clock of this box is wrong"
            ),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            HindranceKind::CertificateOtherName,
            text!(
                "消息服务器的证书是给别的主机名的：请检查 url 里的主机",
                "the broker's certificate is for another host name: check the host in url"
            ),
        ),
        _ => (
            HindranceKind::CertificateUnacceptable,
            text!("消息服务器的证书不能用", "the broker's certificate cannot be used"),
        ),
    }
}

fn of_code(code: ConnectReturnCode) -> Told {
    match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => (
            HindranceKind::Unauthorised,
            text!(
                "消息服务器拒绝登录：请检查 username、password 和权限",
                "the broker refuses the login: check username, password and rights"
            ),
        ),
        ConnectReturnCode::BadClientId => (
            HindranceKind::Forbidden,
            text!("消息服务器不接受这个 client_id", "the broker does not accept this client_id"),
        ),
        ConnectReturnCode::ServiceUnavailable => {
            (HindranceKind::Busy, text!("消息服务器暂时不提供服务", "the broker is out of service for now"))
        }
        ConnectReturnCode::RefusedProtocolVersion => (
            HindranceKind::Unexpected,
            text!("消息服务器不支持 MQTT 3.1.1", "the broker does not speak MQTT 3.1.1"),
        ),
        ConnectReturnCode::Success => (HindranceKind::Unexpected, text!("连接成功", "connected")),
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    #[test]
    fn each_reason_says_what_to_look_at() {
        let tls =
            |error: rustls::Error| ConnectionError::Io(io::Error::new(io::ErrorKind::InvalidData, error));
        let certificate = |fault| tls(rustls::Error::InvalidCertificate(fault));
        let alert_io =
            |alert| io::Error::new(io::ErrorKind::InvalidData, rustls::Error::AlertReceived(alert));
        let alert = |alert| ConnectionError::MqttState(StateError::Io(alert_io(alert)));
        let wrapped =
            |fault: io::Error| ConnectionError::MqttState(StateError::Deserialization(fault.into()));
        for (error, en, zh, nonsense) in [
            (certificate(CertificateError::UnknownIssuer), "ca_file", "ca_file", false),
            (certificate(CertificateError::Expired), "expired", "过期", false),
            (certificate(CertificateError::NotValidForName), "another host name", "主机名", false),
            (alert(AlertDescription::CertificateRequired), "cert_file", "cert_file", false),
            (wrapped(alert_io(AlertDescription::CertificateRequired)), "cert_file", "cert_file", false),
            (tls(rustls::Error::General("x".to_owned())), "handshake", "握手", false),
            (
                ConnectionError::Io(io::ErrorKind::ConnectionRefused.into()),
                "no broker runs",
                "没有运行",
                false,
            ),
            (ConnectionError::Io(io::Error::other("lookup")), "lookup", "lookup", false),
            (
                ConnectionError::Io(io::Error::other("failed to lookup address information")),
                "name server",
                "域名",
                false,
            ),
            (
                ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized),
                "username",
                "username",
                false,
            ),
            (ConnectionError::MqttState(StateError::ConnectionAborted), "client_id", "client_id", false),
            (ConnectionError::NetworkTimeout, "does not answer", "没有应答", false),
            (ConnectionError::MqttState(StateError::Unsolicited(7)), "speak MQTT", "不是 MQTT", true),
        ] {
            let reason = reason(&error);
            assert!(reason.text.en.contains(en), "{error:?}: {}", reason.text.en);
            assert!(reason.text.zh.contains(zh), "{error:?}: {}", reason.text.zh);
            assert!(
                reason.text.en.contains(&error.to_string()),
                "the library's own words stay: {}",
                reason.text.en
            );
            assert_eq!(reason.nonsense, nonsense, "{error:?}");
        }
    }
}
