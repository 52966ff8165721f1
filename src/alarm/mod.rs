//! Decides: rules of the class over a device's readings, in the states of ISA-18.2. No I/O.
