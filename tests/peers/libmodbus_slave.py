#!/usr/bin/env python3
"""Modbus RTU slave by Debian's libmodbus on a serial port or pty, with a truth ledger."""
import ctypes
import ctypes.util
import threading

from ledger import Ledger

_lib = ctypes.CDLL("libmodbus.so.5", use_errno=True)
_lib.modbus_new_rtu.restype = ctypes.c_void_p
_lib.modbus_new_rtu.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_char, ctypes.c_int, ctypes.c_int]


class _Mapping(ctypes.Structure):
    """modbus_mapping_t of libmodbus 3.1.6 on."""
    _fields_ = [(name, ctypes.c_int) for name in ("nb_bits", "start_bits", "nb_input_bits", "start_input_bits", "nb_input_registers",
                                                  "start_input_registers", "nb_registers", "start_registers")]
    _fields_ += [("tab_bits", ctypes.POINTER(ctypes.c_uint8)), ("tab_input_bits", ctypes.POINTER(ctypes.c_uint8)),
                 ("tab_input_registers", ctypes.POINTER(ctypes.c_uint16)), ("tab_registers", ctypes.POINTER(ctypes.c_uint16))]


_lib.modbus_mapping_new.restype = ctypes.POINTER(_Mapping)
for name in ("modbus_set_slave", "modbus_connect", "modbus_receive", "modbus_reply", "modbus_close", "modbus_free", "modbus_set_indication_timeout"):
    getattr(_lib, name).argtypes = None  # all take the context first


class LibmodbusSlave:
    def __init__(self, port, unit, size=0x300, baud=9600, ledger=None):
        self.unit, self.ledger = unit, ledger or Ledger()
        self._context = ctypes.c_void_p(_lib.modbus_new_rtu(str(port).encode(), baud, b"N", 8, 1))
        assert self._context, "libmodbus has no context"
        assert _lib.modbus_set_slave(self._context, unit) == 0
        _lib.modbus_set_indication_timeout(self._context, ctypes.c_uint32(0), ctypes.c_uint32(200_000))  # looks up whether it is to stop
        self._mapping = _lib.modbus_mapping_new(0, 0, size, 0)
        assert _lib.modbus_connect(self._context) == 0, f"libmodbus does not open {port}"
        self._running, self._lock = True, threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def set(self, unit, address, values):
        assert unit == self.unit
        with self._lock:  # no reply comes in between
            self.ledger.hold(unit, "holding", address, values)
            for n, value in enumerate(values):
                self._mapping.contents.tab_registers[address + n] = value

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        self._running = False
        self._thread.join(5)
        _lib.modbus_close(self._context)
        _lib.modbus_free(self._context)

    def _run(self):
        query = (ctypes.c_uint8 * 260)()
        while self._running:
            length = _lib.modbus_receive(self._context, query)
            if length > 0:
                with self._lock:
                    _lib.modbus_reply(self._context, query, length, self._mapping)
