//! Passing over a payload that is not understood, part by part. Must not know what the parts mean.

use std::io::Read;

use super::error::{RdbError, Result};
use super::format::{Part, Shape, module_op};
use super::input::Input;

impl<R: Read> Input<R> {
    /// Goes to the end of a payload.
    pub(super) fn skip_payload(&mut self, shape: Shape) -> Result<()> {
        match shape {
            Shape::Once(parts) => self.skip_parts(parts),
            Shape::Repeated(head, each) => {
                self.skip_parts(head)?;
                // A lying count ends with the input: each round takes at least a byte.
                self.repeat(|input| input.skip_parts(each))
            }
            Shape::Stream(version) => self.skip_stream(version),
            Shape::Module => {
                self.len()?;
                self.skip_module_parts()
            }
            Shape::Refused(what) => self.corrupt(what),
        }
    }

    fn repeat(&mut self, mut round: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        for _ in 0..self.len()? {
            round(self)?;
        }
        Ok(())
    }

    fn skip_parts(&mut self, parts: &[Part]) -> Result<()> {
        for part in parts {
            match part {
                Part::String => self.skip_string()?,
                Part::Len => {
                    self.len()?;
                }
                Part::Container => {
                    if !matches!(self.len()?, 1 | 2) {
                        return self.corrupt("a list node is neither plain nor packed");
                    }
                }
                Part::Double | Part::Millis => self.skip(8)?,
                Part::OldDouble => match self.byte()? {
                    253..=255 => {}
                    len => self.skip(len.into())?,
                },
            }
        }
        Ok(())
    }

    /// ```text
    /// nodes: n x (first id, listpack)
    /// length, last id                    2 and later: first id, greatest deleted id, entries ever added
    /// groups: n x
    ///   name, last id                    2 and later: entries read
    ///   pending: n x (id, delivered at, how often)
    ///   consumers: n x
    ///     name, seen at                  3: active at
    ///     pending: n x id
    /// ```
    /// An id is two lengths, but in the pending lists, where it is 16 bytes.
    fn skip_stream(&mut self, version: u8) -> Result<()> {
        self.repeat(|input| input.skip_parts(&[Part::String, Part::String]))?;
        let numbers = if version >= 2 { 8 } else { 3 };
        for _ in 0..numbers {
            self.len()?;
        }
        self.repeat(|input| {
            input.skip_parts(&[Part::String, Part::Len, Part::Len])?;
            if version >= 2 {
                input.len()?;
            }
            input.repeat(|input| {
                input.skip(16 + 8)?;
                input.len().map(drop)
            })?;
            input.repeat(|input| {
                input.skip_string()?;
                input.skip(if version >= 3 { 16 } else { 8 })?;
                input.repeat(|input| input.skip(16))
            })
        })
    }

    /// The tagged parts that a module wrote, with their end mark.
    pub(super) fn skip_module_parts(&mut self) -> Result<()> {
        loop {
            match self.len()? {
                module_op::EOF => return Ok(()),
                module_op::SINT | module_op::UINT => {
                    self.len()?;
                }
                module_op::FLOAT => self.skip(4)?,
                module_op::DOUBLE => self.skip(8)?,
                module_op::STRING => self.skip_string()?,
                _ => {
                    return Err(RdbError::Corrupt { at: self.position(), what: "an unknown part of a module's value" });
                }
            }
        }
    }
}
