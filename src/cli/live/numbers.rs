//! Registers as people count them: from 0 as on the wire, and 4xxxx as in manuals.

use crate::domain::Table;

/// The manuals' number of a register or bit: `40019`, six digits beyond 9999.
pub fn manual(table: Table, address: u16) -> String {
    let digit = match table {
        Table::Coil => 0,
        Table::Discrete => 1,
        Table::Input => 3,
        Table::Holding => 4,
    };
    let number = u32::from(address) + 1;
    if number <= 9999 { format!("{digit}{number:04}") } else { format!("{digit}{number:05}") }
}

/// Both ways of counting: `0x0012/40019`.
pub fn register(table: Table, address: u16) -> String {
    format!("0x{address:04X}/{}", manual(table, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_counting_name_one_register() {
        for (table, address, expected) in [
            (Table::Holding, 0x12, "0x0012/40019"),
            (Table::Input, 0, "0x0000/30001"),
            (Table::Coil, 9, "0x0009/00010"),
            (Table::Discrete, 9998, "0x270E/19999"),
            (Table::Holding, 9999, "0x270F/410000"),
            (Table::Holding, u16::MAX, "0xFFFF/465536"),
        ] {
            assert_eq!(register(table, address), expected);
        }
    }
}
