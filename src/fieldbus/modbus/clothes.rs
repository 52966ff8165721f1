//! RTU frames in other clothes: what a line puts around them, or between them, is put on and taken off here, so that one wire with one
//! way of telling answers apart speaks on all of them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::fieldbus::port::Port;

pub trait Clothes: Send + Unpin {
    /// An RTU frame as the line carries it.
    fn put_on(&self, frame: &[u8]) -> Vec<u8>;

    /// Appends to `bare` what is RTU in what came off the line. Pure and total: any bytes may come, in any pieces; what is kept for
    /// the next piece is bounded.
    fn take_off(&mut self, came: &[u8], now: Instant, bare: &mut Vec<u8>);

    /// What has begun to come is thrown away.
    fn forget(&mut self);
}

/// A port whose frames wear `C`.
pub struct Dressed<P, C> {
    port: P,
    clothes: C,
    /// Taken off, not yet read.
    bare: Vec<u8>,
    /// Put on, not yet written.
    dressed: Vec<u8>,
}

impl<P, C> Dressed<P, C> {
    pub fn new(port: P, clothes: C) -> Self {
        Self { port, clothes, bare: Vec::new(), dressed: Vec::new() }
    }

    /// The same, when `came` was read off the port before.
    pub fn after(port: P, mut clothes: C, came: &[u8]) -> Self
    where
        C: Clothes,
    {
        let mut bare = Vec::new();
        clothes.take_off(came, Instant::now(), &mut bare);
        Self { port, clothes, bare, dressed: Vec::new() }
    }

    pub fn clothes(&self) -> &C {
        &self.clothes
    }
}

impl<P: Port, C: Clothes> AsyncRead for Dressed<P, C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.bare.is_empty() {
            let mut chunk = [0; 256];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.port).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.clothes.take_off(read.filled(), Instant::now(), &mut this.bare);
        }
        let count = this.bare.len().min(into.remaining());
        into.put_slice(&this.bare[..count]);
        this.bare.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl<P: Port, C: Clothes> AsyncWrite for Dressed<P, C> {
    /// Takes one whole frame a call, and says so only once all of it is written: called again meanwhile, it goes on.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, frame: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.dressed.is_empty() {
            this.dressed = this.clothes.put_on(frame);
        }
        while !this.dressed.is_empty() {
            let count = ready!(Pin::new(&mut this.port).poll_write(cx, &this.dressed))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.dressed.drain(..count);
        }
        Poll::Ready(Ok(frame.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().port).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().port).poll_shutdown(cx)
    }
}

impl<P: Port, C: Clothes> Port for Dressed<P, C> {
    fn clear_input(&mut self) -> io::Result<()> {
        self.bare.clear();
        self.clothes.forget();
        self.port.clear_input()
    }
}

#[cfg(test)]
#[path = "clothes_tests.rs"]
mod tests;
