// Modbus RTU slave by npm's modbus-serial: node modbus_serial_slave.cjs PORT UNIT. Line-JSON on stdin, {"address":0,"values":[7]} → ok.
const { ServerSerial } = require("modbus-serial");
const readline = require("readline");

const [path, unit] = [process.argv[2], Number(process.argv[3])];
const registers = new Uint16Array(0x300);
const vector = {
    getHoldingRegister: (address) => registers[address],
    getMultipleHoldingRegisters: (address, length) => Array.from(registers.subarray(address, address + length)),
};
const server = new ServerSerial(vector, { path, baudRate: 9600, unitID: unit, interval: 5 });
server.on("error", (error) => console.error(error));
server.on("initialized", () => console.log("serving"));
readline.createInterface({ input: process.stdin }).on("line", (line) => {
    const { address, values } = JSON.parse(line);
    registers.set(values, address);
    console.log("ok");
});
