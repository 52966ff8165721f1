//! What people are told about each kind of silence, and what to look at, in order: one table for screen, log and command line.

use serde::{Deserialize, Serialize};

use super::{Failure, Garble, Lang, LineFault, Text};
use crate::text;

/// A kind of silence in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The kind's name: the same in every language and every version.
    pub kind: String,
    pub what: Text,
    /// What to look at, the likeliest first.
    pub checks: Vec<Text>,
}

/// What lies between the gateway and a device: where to look when nothing answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Medium {
    /// A serial port of this box and two wires.
    #[default]
    Serial,
    /// The network, and wires behind a serial server.
    SerialServer,
    /// A modem that dials in, and wires behind it.
    Modem,
    Network,
    Broker,
    /// Nothing: it is a part of the gateway itself.
    Inside,
}

/// By what a device is told from the others on its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    UnitId,
    MeterNumber,
    Address,
    Topic,
}

/// Something to look at: Chinese, English.
type Check = (&'static str, &'static str);

const POWER: Check = ("供电", "power");
const SWAPPED: Check = ("A/B 对调", "swap A and B");
const OTHER_PORT: Check = ("选错串口", "the right port?");
const DIRECTION: Check = ("收发方向（RTS）", "direction control (RTS)");
const UNIT_ID: Check = ("站号", "unit id");
const METER_NUMBER: Check = ("表号（12 位）", "the meter's number (12 digits)");
const ADDRESS: Check = ("地址", "its address");
const TOPIC: Check = ("主题", "its topic");
const NETWORK: Check = ("网络", "the network");
const BEHIND_MODEM: Check = ("DTU 到设备的线", "the line behind the modem");
const SIGNAL: Check = ("信号", "its signal");
const BROKER: Check = ("消息服务器", "the broker");
const BAUD: Check = ("波特率/校验", "baud rate and parity");
const TERMINATOR: Check = ("终端电阻", "terminating resistors");
const OTHER_MASTER: Check = ("另有主站", "another master?");
const INTERFERENCE: Check = ("干扰", "interference");
const FUNCTION_CODE: Check = ("功能码", "the right table (function code)?");
const ADDRESS_BASE: Check = ("0 基或 1 基", "counted from 0 or from 1?");
const SMALLER_BLOCKS: Check = ("拆小读取块", "fewer registers at once?");
const PANEL: Check = ("看设备面板", "look at the device's panel");
const SLOWER: Check = ("放慢周期", "ask less often");
const BEHIND_GATEWAY: Check = ("串口服务器后面的线", "the line behind the serial server");
const MANUAL: Check = ("查设备手册的错误码", "the error in the device's manual");
const UNIT_TWICE: Check = ("站号重复", "two devices with one unit id?");
const LONGER_TIMEOUT: Check = ("超时加长", "a longer timeout");
const SPEAKS_BY_ITSELF: Check = ("主动上报的设备", "a device that speaks by itself?");
const ONE_MASTER: Check = ("断开别的主站：一条线只能有一个", "disconnect it: a line has one master");
const ECHO_OFF: Check = ("关闭适配器回显", "switch the adapter's echo off");
const PROTOCOL: Check = ("端口和协议选错", "the right port and protocol?");
const CONNECTION_TAKEN: Check = ("别的主站占用了它的连接", "does another master hold its connection?");
const SINGLE_ITEMS: Check = ("改读单项数据标识", "read single items instead of the block");
const PROFILE: Check = ("型号和总线不配", "does the profile fit the bus?");
const PLUGGED_IN: Check = (
    "插好适配器；用 /dev/serial/by-id/ 下的路径",
    "plug it in; name it by its path under /dev/serial/by-id/",
);
const END_PROGRAM: Check = ("结束那个程序", "end that program");
const DIALOUT: Check = ("把运行用户加入 dialout 组", "add the user it runs as to group dialout");
const RS485_OUT: Check = ("适配器自己换向就去掉 rs485", "leave rs485 out if the adapter switches by itself");
const DIRECTED_PORT: Check = ("否则换驱动支持的串口", "else use a port whose driver does it");
const CABLE: Check = ("网线或适配器", "cable or adapter");
const ONE_BY_ONE: Check = ("逐台断开，找出是哪一台", "disconnect one after the other to find which");

impl Diagnosis {
    fn new(kind: &str, what: Text, checks: &[Check]) -> Self {
        let checks = checks.iter().map(|(zh, en)| Text::new(*zh, *en)).collect();
        Self { kind: kind.to_owned(), what, checks }
    }

    /// Nothing came: what to look at lies on the way to it.
    pub fn silent(medium: Medium, called: Called) -> Self {
        let on_the_way: &[Check] = match medium {
            Medium::Serial => &[POWER, SWAPPED, OTHER_PORT, DIRECTION],
            Medium::SerialServer => &[POWER, BEHIND_GATEWAY, SWAPPED, BAUD],
            Medium::Modem => &[POWER, BEHIND_MODEM, SWAPPED, SIGNAL],
            Medium::Network => &[POWER, NETWORK],
            Medium::Broker => &[POWER, SIGNAL, BROKER],
            Medium::Inside => &[],
        };
        let name = match called {
            Called::UnitId => UNIT_ID,
            Called::MeterNumber => METER_NUMBER,
            Called::Address => ADDRESS,
            Called::Topic => TOPIC,
        };
        let told = match medium {
            Medium::Broker => text!("没有收到它的消息", "nothing is heard of it"),
            Medium::Serial | Medium::SerialServer | Medium::Modem => {
                text!("线上没有任何应答", "nothing answers")
            }
            Medium::Network | Medium::Inside => text!("没有任何应答", "nothing answers"),
        };
        Self::new("silent", told, &[on_the_way, &[name]].concat())
    }

    /// On one line: `what；check → check`.
    pub fn line(&self, lang: Lang) -> String {
        let (what, checks) = (self.what.get(lang), self.checks_line(lang));
        match lang {
            _ if checks.is_empty() => what.to_owned(),
            Lang::Zh => format!("{what}；{checks}"),
            Lang::En => format!("{what}; {checks}"),
        }
    }

    /// The checks alone, in order.
    pub fn checks_line(&self, lang: Lang) -> String {
        self.checks.iter().map(|check| check.get(lang)).collect::<Vec<_>>().join(" → ")
    }

    /// Whether the line is in trouble, and with it every device on it.
    pub fn is_of_the_line(&self) -> bool {
        ["port_missing", "port_busy", "port_denied", "no_direction", "line_down", "babble"]
            .contains(&self.kind.as_str())
    }

    /// The device is there and said no: a Modbus exception (Modbus Application Protocol V1.1b3, section 7).
    pub fn exception(code: u16) -> Self {
        let (zh, en, checks): (_, _, &[Check]) = match code {
            1 => ("不支持该功能", "no such function", &[FUNCTION_CODE]),
            2 => ("没有该地址", "no such address", &[ADDRESS_BASE]),
            3 => ("数量超限", "no such quantity", &[SMALLER_BLOCKS]),
            4 => ("内部故障", "the device failed", &[PANEL, SLOWER]),
            5 | 6 => ("忙", "the device is busy", &[PANEL, SLOWER]),
            10 => ("串口服务器没有到它的路径", "the gateway has no path to it", &[BEHIND_GATEWAY]),
            11 => ("它不应答串口服务器", "it does not answer the gateway", &[POWER, BEHIND_GATEWAY]),
            _ => ("拒绝", "the device refused", &[MANUAL]),
        };
        let told = text!("设备在线：{zh}（异常 {code:02X}）", "exception {code:02X}: {en}");
        Self::new("refused", told, checks)
    }

    /// The device is there and said no in its maker's own numbers.
    pub fn vendor_error(code: u16) -> Self {
        let told = text!("设备在线：拒绝（错误 {code:04X}）", "error {code:04X}");
        Self::new("refused", told, &[MANUAL])
    }

    /// The meter is there and said no: its error word, and what the bits of that mean.
    pub fn meter_error(code: u16, zh: &str, en: &str) -> Self {
        let told = text!("设备在线：拒绝（错误 {code:02X} {zh}）", "error {code:02X}: {en}");
        Self::new("refused", told, &[MANUAL])
    }

    /// Whole frames came that nobody had asked for; the line stays up.
    pub fn unasked() -> Self {
        let told = text!("收到非请求帧，已忽略", "frames that nobody asked for came and were ignored");
        Self::new("unasked", told, &[OTHER_MASTER, SPEAKS_BY_ITSELF])
    }
}

impl Failure {
    /// `None` where nothing is wrong yet. A refusal is read as a Modbus exception: a [`Link`](crate::profile::Link) knows better.
    pub fn diagnosis(&self, medium: Medium, called: Called) -> Option<Diagnosis> {
        match self {
            Failure::Silent => Some(Diagnosis::silent(medium, called)),
            Failure::Garbled { what } => Some(what.diagnosis()),
            Failure::Refused { code } => Some(Diagnosis::exception(*code)),
            Failure::LineDown { fault } => Some(fault.diagnosis()),
            Failure::NotHeardYet => None,
        }
    }
}

impl Garble {
    pub fn diagnosis(&self) -> Diagnosis {
        let (kind, checks): (_, &[Check]) = match self {
            Garble::Checksum | Garble::Stray { .. } => {
                ("undecodable", &[BAUD, TERMINATOR, OTHER_MASTER, INTERFERENCE])
            }
            Garble::OtherUnit { .. } => ("other_unit", &[UNIT_TWICE, LONGER_TIMEOUT]),
            Garble::OtherQuestion => ("other_question", &[LONGER_TIMEOUT, OTHER_MASTER]),
            Garble::OtherMaster => ("other_master", &[ONE_MASTER]),
            Garble::Late { .. } => ("late", &[UNIT_TWICE, LONGER_TIMEOUT]),
            Garble::Echo => ("echo", &[ECHO_OFF]),
            Garble::Count { .. } => ("count", &[SMALLER_BLOCKS]),
            Garble::Foreign => ("foreign", &[PROTOCOL]),
            Garble::HungUp { .. } => ("hung_up", &[CONNECTION_TAKEN, POWER]),
            Garble::Length { .. } => ("length", &[PROFILE]),
            Garble::InParts => ("in_parts", &[SINGLE_ITEMS]),
            Garble::Unaskable => ("unaskable", &[PROFILE]),
        };
        Diagnosis::new(kind, self.told(), checks)
    }

    fn told(&self) -> Text {
        match self {
            Garble::Checksum => text!("有信号但解不开", "there is a signal, but no checksum is right"),
            Garble::Stray { bytes } => {
                text!("有信号但解不开（{bytes} 字节）", "{bytes} bytes that are not its answer")
            }
            Garble::OtherUnit { unit } => {
                text!("应答站号不符（{unit}）", "the answer of another unit ({unit})")
            }
            Garble::OtherQuestion => text!("应答的是别的问题", "the answer to another question"),
            Garble::OtherMaster => text!("线上有别的主站", "another master is on the line"),
            Garble::Late { by: None } => text!("应答迟到", "its answers come late"),
            Garble::Late { by: Some(by) } => {
                let ms = by.as_millis();
                text!("应答迟到 {ms} ms", "its answer came {ms} ms late")
            }
            Garble::Echo => text!("收到自己的回波", "it hears its own bytes"),
            Garble::Count { values, asked } => {
                text!("应答了 {values} 个值，问的是 {asked} 个", "{values} values instead of {asked}")
            }
            Garble::Foreign => text!("应答的协议不对", "not Modbus"),
            Garble::HungUp { why } => {
                text!("设备断开了连接（{why}）", "the connection was closed by the device ({why})")
            }
            Garble::Length { bytes, asked } => text!(
                "应答 {bytes} 字节，模板读 {asked} 字节",
                "{bytes} bytes, where the profile reads {asked}"
            ),
            Garble::InParts => {
                text!("应答分成几帧，读不了", "the answer comes in several frames, which are not read")
            }
            Garble::Unaskable => text!("这条线上不能这样问", "this line has no such question"),
        }
    }
}

impl LineFault {
    pub fn diagnosis(&self) -> Diagnosis {
        let (kind, checks): (_, &[Check]) = match self {
            LineFault::Missing { .. } => ("port_missing", &[PLUGGED_IN]),
            LineFault::Busy { .. } => ("port_busy", &[END_PROGRAM]),
            LineFault::Denied { .. } => ("port_denied", &[DIALOUT]),
            LineFault::NoDirection { .. } => ("no_direction", &[RS485_OUT, DIRECTED_PORT]),
            LineFault::Gone { .. } => ("line_down", &[POWER, CABLE]),
            LineFault::Babble { .. } => ("babble", &[ONE_BY_ONE, INTERFERENCE]),
        };
        Diagnosis::new(kind, self.told(), checks)
    }

    fn told(&self) -> Text {
        match self {
            LineFault::Missing { port } => text!("串口 {port} 不存在", "the port {port} does not exist"),
            LineFault::Busy { port, holder: None } => {
                text!("串口 {port} 被别的程序占用", "the port {port} is held by another program")
            }
            LineFault::Busy { port, holder: Some(holder) } => {
                text!("串口 {port} 被 {holder} 占用", "the port {port} is held by {holder}")
            }
            LineFault::Denied { port } => {
                text!("无权限打开串口 {port}", "no permission to open the port {port}")
            }
            LineFault::NoDirection { why } => why.clone(),
            LineFault::Gone { why: Text { zh, en } } => text!("线路不通（{zh}）", "the line is down ({en})"),
            LineFault::Babble { bytes, over } => {
                let seconds = over.as_secs();
                text!(
                    "有设备不停地发（{seconds} 秒 {bytes} 字节）",
                    "somebody talks without end ({bytes} bytes in {seconds} s)"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Holder;

    #[test]
    fn each_kind_of_silence_has_its_words_and_its_checks_in_order() {
        let garbled = |what| Failure::Garbled { what };
        let down = |fault| Failure::LineDown { fault };
        let port = || "/dev/ttyS1".to_owned();
        let holder = Some(Holder { pid: 812, program: "mbpoll".to_owned() });
        let late = Garble::Late { by: Some(std::time::Duration::from_millis(340)) };
        let cases = [
            (Failure::Silent, "线上没有任何应答；供电 → A/B 对调 → 选错串口 → 收发方向（RTS） → 站号"),
            (garbled(Garble::Checksum), "有信号但解不开；波特率/校验 → 终端电阻 → 另有主站 → 干扰"),
            (Failure::Refused { code: 1 }, "设备在线：不支持该功能（异常 01）；功能码"),
            (Failure::Refused { code: 2 }, "设备在线：没有该地址（异常 02）；0 基或 1 基"),
            (Failure::Refused { code: 3 }, "设备在线：数量超限（异常 03）；拆小读取块"),
            (Failure::Refused { code: 4 }, "设备在线：内部故障（异常 04）；看设备面板 → 放慢周期"),
            (Failure::Refused { code: 6 }, "设备在线：忙（异常 06）；看设备面板 → 放慢周期"),
            (garbled(Garble::OtherUnit { unit: 7 }), "应答站号不符（7）；站号重复 → 超时加长"),
            (garbled(late), "应答迟到 340 ms；站号重复 → 超时加长"),
            (garbled(Garble::Echo), "收到自己的回波；关闭适配器回显"),
            (
                down(LineFault::Missing { port: port() }),
                "串口 /dev/ttyS1 不存在；插好适配器；用 /dev/serial/by-id/ 下的路径",
            ),
            (
                down(LineFault::Busy { port: port(), holder }),
                "串口 /dev/ttyS1 被 pid 812 mbpoll 占用；结束那个程序",
            ),
            (
                down(LineFault::Denied { port: port() }),
                "无权限打开串口 /dev/ttyS1；把运行用户加入 dialout 组",
            ),
            (
                down(LineFault::NoDirection { why: text!("串口不换向", "it does not switch") }),
                "串口不换向；适配器自己换向就去掉 rs485 → 否则换驱动支持的串口",
            ),
            (
                down(LineFault::gone("10.0.0.9:502", &std::io::ErrorKind::ConnectionRefused.into())),
                "线路不通（10.0.0.9:502：连接被拒绝，connection refused）；供电 → 网线或适配器",
            ),
            (
                down(LineFault::no_connection("10.0.0.9:502", std::time::Duration::from_secs(3))),
                "线路不通（10.0.0.9:502：3 秒内没有连上）；供电 → 网线或适配器",
            ),
        ];
        for (failure, want) in cases {
            let told = failure.diagnosis(Medium::Serial, Called::UnitId).expect("something is wrong");
            assert_eq!(told.line(Lang::Zh), want);
            let english = told.line(Lang::En);
            assert!(english.is_ascii() || english.contains('→'), "{english}");
            assert!(
                !told.kind.is_empty() && told.checks.iter().all(|check| !check.en.is_empty()),
                "{told:?}"
            );
        }
        assert_eq!(Diagnosis::unasked().line(Lang::Zh), "收到非请求帧，已忽略；另有主站 → 主动上报的设备");
        assert_eq!(Failure::NotHeardYet.diagnosis(Medium::Serial, Called::UnitId), None);
        assert_eq!(
            Diagnosis { checks: vec![], ..Diagnosis::unasked() }.line(Lang::Zh),
            "收到非请求帧，已忽略"
        );
    }
    #[test]
    fn a_silent_device_is_looked_for_where_its_line_goes() {
        let cases = [
            (
                Medium::Serial,
                Called::MeterNumber,
                "线上没有任何应答；供电 → A/B 对调 → 选错串口 → 收发方向（RTS） → 表号（12 位）",
            ),
            (
                Medium::SerialServer,
                Called::UnitId,
                "线上没有任何应答；供电 → 串口服务器后面的线 → A/B 对调 → 波特率/校验 → 站号",
            ),
            (
                Medium::Modem,
                Called::UnitId,
                "线上没有任何应答；供电 → DTU 到设备的线 → A/B 对调 → 信号 → 站号",
            ),
            (Medium::Network, Called::UnitId, "没有任何应答；供电 → 网络 → 站号"),
            (Medium::Broker, Called::Topic, "没有收到它的消息；供电 → 信号 → 消息服务器 → 主题"),
        ];
        for (medium, called, want) in cases {
            let told = Diagnosis::silent(medium, called);
            assert_eq!(told.line(Lang::Zh), want);
            assert_eq!(told.line(Lang::En).contains("swap A and B"), want.contains("A/B"), "{medium:?}");
        }
    }
}
