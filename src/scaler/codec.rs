//! How messages are encoded: as prost does, in buffers of the size that these messages have.

use std::marker::PhantomData;

use tonic::codec::{BufferSettings, Codec as Encoding};
use tonic_prost::ProstCodec;

/// An open stream keeps its buffer for as long as it lives. tonic's default is 8 KiB, which is 80 MB for 10,000
/// open streams; an answer of ours is some 30 bytes.
const ANSWER: usize = 64;

/// Largest piece of an answer that is sent at once; no answer comes near to it.
const PIECE: usize = 8 * 1024;

/// Prost's codec with small buffers for what is sent.
#[derive(Clone, Copy, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Encoding for Codec<T, U>
where
    T: prost::Message + Send + 'static,
    U: prost::Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Encoding>::Encoder;
    type Decoder = <ProstCodec<T, U> as Encoding>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(ANSWER, PIECE))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::default())
    }
}
