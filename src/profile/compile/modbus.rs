//! `[modbus]` and the points behind it.

use std::time::Duration;

use super::{
    Check,
    point::{DEFAULT_EVERY, Found, is_text, width},
};
use crate::{
    at,
    document::Step,
    domain::Table,
    profile::{
        Class, Dialect, Link, ModbusLink, Read,
        decode::Decoder,
        plan::{Take, Wire},
        product::Point,
        schema::{ByteOrder, DialectFile, ModbusFile, PointFile, ReadFile, WireType},
        written::RegisterNumber,
    },
    text,
};

const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
const DEFAULT_RETRIES: u8 = 1;
/// Modbus Application Protocol V1.1b3, 6.3: a read of registers asks for 125 at most.
const MOST_REGISTERS: u16 = 125;
/// What the vendor's own app asks of a NICE3000+ at once.
const MOST_REGISTERS_NICE3000: u16 = 10;
/// Wider steps than these no product is known to want.
const ALIGNMENTS: [u16; 5] = [1, 2, 4, 8, 16];
/// 6.1: a read of coils asks for 2000 at most.
const COILS_PER_REGISTER: u16 = 16;
const READ_KEYS: [&str; 6] = ["table", "address", "type", "bits", "length", "byte_order"];

impl Check<'_> {
    pub(super) fn modbus(
        &mut self,
        file: &ModbusFile,
        points: &[PointFile],
        class: &Class,
    ) -> (Link, Decoder, Vec<Point>) {
        let link = self.modbus_link(file);
        let points_found =
            self.points(points, class, |check, i, point| check.modbus_point(i, point, file, &link));
        self.overlaps(&points_found, points);
        (Link::Modbus(link), Decoder::Registers { base: file.address_base.into() }, points_found)
    }

    fn modbus_link(&mut self, file: &ModbusFile) -> ModbusLink {
        let (dialect, most) = match file.dialect {
            DialectFile::Standard => (Dialect::Standard, MOST_REGISTERS),
            DialectFile::Nice3000 => (Dialect::Nice3000, MOST_REGISTERS_NICE3000),
        };
        let max_registers = file.max_registers.unwrap_or(most);
        if max_registers > most {
            let told =
                text!("这种方言一次最多读 {most} 个寄存器", "this dialect reads {most} registers at most");
            self.error(at!["modbus", "max_registers"], told);
        }
        ModbusLink {
            dialect,
            max_registers,
            max_gap: file.max_gap,
            align: self.alignment(file, max_registers),
            timeout: self.period(at!["modbus", "timeout"], file.timeout, DEFAULT_TIMEOUT),
            retries: file.retries.unwrap_or(DEFAULT_RETRIES),
            turnaround: file.turnaround.map_or(Duration::ZERO, Duration::from),
            pipeline: file.pipeline.unwrap_or(1).max(1),
        }
    }

    fn alignment(&mut self, file: &ModbusFile, max_registers: u16) -> u16 {
        let align = file.align.unwrap_or(1);
        if !ALIGNMENTS.contains(&align) {
            let told = text!("align 只能是 1、2、4、8、16", "`align` is one of 1, 2, 4, 8 and 16");
            self.error(at!["modbus", "align"], told);
            return 1;
        }
        if align > max_registers {
            let told = text!(
                "align 大于 max_registers（{max_registers}）：什么也读不了",
                "`align` is over max_registers ({max_registers}): nothing could be read"
            );
            self.error(at!["modbus", "align"], told);
        }
        align
    }

    fn modbus_point(
        &mut self,
        i: usize,
        file: &PointFile,
        modbus: &ModbusFile,
        link: &ModbusLink,
    ) -> Option<Found> {
        let of = at!["point", i, "read"];
        self.special_keys(i, file, &["every", "byte_order"]);
        let every = self.period(at!["point", i, "every"], file.every, DEFAULT_EVERY);
        let (table, address, span, take) = self.register(of, &file.read, modbus, file.byte_order)?;
        let most = if is_bit(table) { link.max_registers * COILS_PER_REGISTER } else { link.max_registers };
        let read = if is_bit(table) { span } else { aligned(address, span, link.align) };
        if read > most {
            let told = text!(
                "{read} 个寄存器一次读不完（最多 {most}）",
                "{read} registers are more than one request reads ({most})"
            );
            self.error(of, told);
        }
        if link.dialect == Dialect::Nice3000 && table != Table::Holding {
            let told = text!("nice3000 只有保持寄存器", "nice3000 has holding registers only");
            self.error(at!["point", i, "read", "table"], told);
        }
        Some(Found { read: Read::Modbus { table, address, span }, take, every })
    }

    /// Where a command writes: whole registers or a coil that can be written.
    pub(super) fn written_register(
        &mut self,
        i: usize,
        write: &ReadFile,
        modbus: &ModbusFile,
    ) -> Option<(u16, u16, Take)> {
        let of = at!["command", i, "write"];
        let (table, address, span, take) = self.register(of, write, modbus, None)?;
        if matches!(table, Table::Input | Table::Discrete) {
            let told = text!("这个表只能读", "this table can only be read");
            self.error(at!["command", i, "write", "table"], told);
            return None;
        }
        if let Take::Words { wire, .. } = &take
            && !self.whole_registers(i, write, *wire, span)
        {
            return None;
        }
        Some((address, span, take))
    }

    /// The bits beside those that are meant would have to be read first, and may change in between.
    fn whole_registers(&mut self, i: usize, write: &ReadFile, wire: Wire, span: u16) -> bool {
        match wire {
            Wire::Whole { pick, .. } if u16::from(pick.width) < 16 * span => {
                let told = text!(
                    "命令只能写整个寄存器：只改其中几位，就要先读出其余的位再写回，而它们可能在这期间变化",
                    "a command writes whole registers: to change some bits of one, the others would have to be read and written                      back, and they may change in between"
                );
                let key = if write.bits.is_some() { "bits" } else { "type" };
                self.key_error(at!["command", i, "write", key], told);
                false
            }
            Wire::Text | Wire::Hex | Wire::Decimal => {
                let told = text!(
                    "命令写数值、词或开关，不写文本",
                    "a command writes numbers, words and flags, no texts"
                );
                self.error(at!["command", i, "write", "type"], told);
                false
            }
            Wire::Whole { .. } | Wire::Float32 | Wire::Float64 => true,
        }
    }

    fn register(
        &mut self,
        of: &[Step<'_>],
        read: &ReadFile,
        modbus: &ModbusFile,
        order_of_point: Option<ByteOrder>,
    ) -> Option<(Table, u16, u16, Take)> {
        let bit = read.table.is_some_and(is_bit);
        let needed: &[&str] = if bit { &["table", "address"] } else { &["table", "address", "type"] };
        if !self.read_keys(of, read, &READ_KEYS, needed) {
            return None;
        }
        let table = read.table?;
        let kind = read.kind.unwrap_or(WireType::Bool);
        let address = self.address(of, read, table, modbus.address_base);
        let path = |key| [of, &[Step::Key(key)]].concat();
        if bit {
            if kind != WireType::Bool || read.bits.is_some() {
                let told = text!(
                    "线圈和离散输入只有一位：type 是 bool",
                    "coils and discrete inputs are one bit: type is bool"
                );
                self.error(&path(if read.bits.is_some() { "bits" } else { "type" }), told);
            }
            return Some((table, address?, 1, Take::Bit));
        }
        let length = self.text_length(of, read, kind);
        let span = if is_text(kind) { length? } else { u16::from(width(kind).div_ceil(16)) };
        let container = if is_text(kind) { 0 } else { width(kind).max(16) };
        let wire = self.wire(of, read, kind, container);
        if order_of_point.is_some() && read.byte_order.is_some() {
            self.key_error(&path("byte_order"), text!("byte_order 写了两次", "byte_order is written twice"));
        }
        let order = read.byte_order.or(order_of_point).unwrap_or(modbus.byte_order);
        let address = address?;
        if u32::from(address) + u32::from(span) > 0x1_0000 {
            self.error(of, text!("超出 65535 号寄存器", "goes beyond register 65535"));
        }
        let take = Take::Words {
            wire: wire?,
            bytes_swapped: matches!(order, ByteOrder::Badc | ByteOrder::Dcba),
            words_reversed: matches!(order, ByteOrder::Cdab | ByteOrder::Dcba),
        };
        Some((table, address, span, take))
    }

    /// The address that goes over the wire, from 0.
    fn address(&mut self, of: &[Step<'_>], read: &ReadFile, table: Table, base: u8) -> Option<u16> {
        let path = [of, &[Step::Key("address")]].concat();
        let (written, base) = match *read.address.as_ref()? {
            RegisterNumber::Plain(number) => (u32::from(number), u32::from(base)),
            RegisterNumber::Manual { digit, number } => {
                let (of_table, name) = match table {
                    Table::Coil => ('0', "coil"),
                    Table::Discrete => ('1', "discrete"),
                    Table::Input => ('3', "input"),
                    Table::Holding => ('4', "holding"),
                };
                if digit != of_table {
                    let told =
                        text!("{name} 的编号以 {of_table} 开头", "numbers of {name} begin with {of_table}");
                    self.error(&path, told);
                    return None;
                }
                (number, 1)
            }
        };
        let address = written.checked_sub(base).and_then(|address| u16::try_from(address).ok());
        if address.is_none() {
            self.error(&path, text!("没有这个编号的寄存器", "there is no register of this number"));
        }
        address
    }
}

/// How many registers are read for `span` of them, where first and count are multiples of `align`.
fn aligned(address: u16, span: u16, align: u16) -> u16 {
    (address % align).saturating_add(span).checked_next_multiple_of(align).unwrap_or(u16::MAX)
}

fn is_bit(table: Table) -> bool {
    matches!(table, Table::Coil | Table::Discrete)
}
