//! RFC 8448 section 3, and an independent implementation.

use super::*;
use crate::samples::hex;

const CLIENT: &str = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
const SERVER: &str = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
const TICKET: &str = "17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758db289a\
    015940252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e0\
    9c30ba1e62972ac46f75f7b981be63439b2999ce13064615139891d5e4c5b406f16e3fc181a77ca475840025db2f0a77\
    f81b5ab05b94c01346755f69232c86519d86cbeeac87aac347d143f9605d64f650db4d023e70e952ca49fe5137121c74\
    bc2697687e248746d6df353005f3bce18696129c8153556b3b6c6779b37bf15985684f";
const CLIENT_DATA: &str = "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b\
    62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
const SERVER_DATA: &str = "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8\
    fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d";
const CLIENT_CLOSE: &str = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3";
const SERVER_CLOSE: &str = "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9";

/// Section 3: ticket, fifty bytes each way, close_notify each way.
#[test]
fn simple_1rtt_handshake() {
    let mut session = Session::new(samples::handover(0x1301, &hex(CLIENT), &hex(SERVER)), START).unwrap();
    let fifty: Vec<u8> = (0..50).collect();

    assert_eq!(read(&mut session, &hex(TICKET)), (vec![], false, None));
    let mut sent = Vec::new();
    session.seal(START, &fifty, &mut sent).unwrap();
    assert_eq!(sent, hex(CLIENT_DATA));
    assert_eq!(read(&mut session, &hex(SERVER_DATA)), (fifty, false, None));
    let mut sent = Vec::new();
    session.close(&mut sent).unwrap();
    assert_eq!(sent, hex(CLIENT_CLOSE));
    assert_eq!(read(&mut session, &hex(SERVER_CLOSE)), (vec![], true, None));
}

/// The gateway had read the server's first records already: they come in the hand-over.
#[test]
fn prefix_goes_first() {
    for cut in [1, 5, 100, 227] {
        let stream = [hex(TICKET), hex(SERVER_DATA), hex(SERVER_CLOSE)].concat();
        let mut handover = samples::handover(0x1301, &hex(CLIENT), &hex(SERVER));
        handover.prefix = stream[..cut].to_vec();
        let mut session = Session::new(handover, START).unwrap();
        assert_eq!(read(&mut session, &[]), (vec![], false, None));
        assert_eq!(read(&mut session, &stream[cut..]), ((0..50).collect(), true, None), "cut at {cut}");
    }
}

/// Secrets 00 01 02 .., sequence number 5: data, KeyUpdate, data. By Python's cryptography 48.
#[test]
fn known_answers_of_an_independent_implementation() {
    let answers = [
        (
            0x1301,
            "170303001d0afcc32f71ed05892e9ee9ec3dbedd7f668cf46005de5853f57a84cfb3",
            "1703030016dbc266f0e6ef8d4927270fa22395f3cf8bd16eaccac8",
            "1703030021bb521b036b12aecde074f77e699fa20e42f4336a0f2931cefbd22e3bcf8ba8461b",
        ),
        (
            0x1302,
            "170303001da91d34c7d5ad78ca51098b54d095843a93d4a4d2cdd13ac4525ae1ebc9",
            "1703030016f2fb9d10ea282f923402c255a13f362231728072adc1",
            "17030300214df3d7e2f526eb1ecfef4aa02db1ca6fb4daafc645a107b6fde7f2665f167ea0a3",
        ),
        (
            0x1303,
            "170303001d40c73b000947e07cc6996ffbd662b17ac5edbac4fe246ad16bd5852374",
            "17030300166b5c3b47e631f4b313faf959dbe9466a4b831a327fca",
            "1703030021736d459e4081b2f92ded81921ef815d7b0d630da4e7e9ee3b488a8e3ec9a8ea321",
        ),
    ];
    for (suite, data, update, after) in answers {
        let length = if suite == 0x1302 { 48 } else { 32 };
        let secret: Vec<u8> = (0..length).collect();
        let mut handover = samples::handover(suite, &secret, &secret);
        handover.tx_sequence = 5;
        handover.rx_sequence = 5;
        let mut session = Session::new(handover, START).unwrap();

        let mut sent = Vec::new();
        session.seal(START, b"known answer", &mut sent).unwrap();
        session.key_update(START, &mut sent).unwrap();
        session.seal(START, b"after the update", &mut sent).unwrap();
        let expected = [hex(data), hex(update), hex(after)].concat();
        assert_eq!(sent, expected, "suite {suite:#x}");
        assert_eq!(read(&mut session, &expected), (b"known answerafter the update".to_vec(), false, None));
    }
}
