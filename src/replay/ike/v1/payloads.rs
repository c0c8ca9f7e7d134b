//! The payloads of a message of IKEv1 beside the bytes that they came in, which HASH and SIG cover.

use keyferry_parsers::ike::v1::Body;
use keyferry_parsers::ike::{Chain, PayloadType, RawPayload};

/// The payloads of a chain, up to the first that cannot be read.
pub(super) struct Payloads<'a> {
    pub(super) types: Vec<PayloadType>,
    pub(super) raw: Vec<RawPayload<'a>>,
    pub(super) bodies: Vec<Body<'a>>,
    pub(super) malformed: Option<String>,
    /// Bytes behind the last payload.
    pub(super) padding: usize,
}

impl<'a> Payloads<'a> {
    pub(super) fn read(mut chain: Chain<'a>, padded: bool) -> Self {
        let mut all = Self { types: Vec::new(), raw: Vec::new(), bodies: Vec::new(), malformed: None, padding: 0 };
        for payload in chain.by_ref() {
            let parsed = payload.and_then(|raw| {
                all.types.push(raw.payload_type);
                Ok((raw, Body::parse(raw.payload_type, raw.body)?))
            });
            match parsed {
                Ok((raw, body)) => {
                    all.raw.push(raw);
                    all.bodies.push(body);
                }
                Err(error) => {
                    all.malformed = Some(error.to_string());
                    return all;
                }
            }
        }
        all.padding = chain.rest().len();
        if !padded && all.padding > 0 {
            all.malformed = Some(format!("{} bytes follow the last payload", all.padding));
        }
        all
    }

    pub(super) fn of(&self, payload_type: PayloadType) -> Option<&'a [u8]> {
        self.raw.iter().find(|raw| raw.payload_type == payload_type).map(|raw| raw.body)
    }
}
