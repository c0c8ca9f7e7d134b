//! The trace of RFC 8448 section 3, from the shared secret to the resumption PSK.

use super::*;
use crate::hex;

const CLIENT_HELLO: &str = "
    01 00 00 c0 03 03 cb 34 ec b1 e7 81 63 ba 1c 38 c6 da cb 19 6a 6d ff
    a2 1a 8d 99 12 ec 18 a2 ef 62 83 02 4d ec e7 00 00 06 13 01 13 03 13
    02 01 00 00 91 00 00 00 0b 00 09 00 00 06 73 65 72 76 65 72 ff 01 00
    01 00 00 0a 00 14 00 12 00 1d 00 17 00 18 00 19 01 00 01 01 01 02 01
    03 01 04 00 23 00 00 00 33 00 26 00 24 00 1d 00 20 99 38 1d e5 60 e4
    bd 43 d2 3d 8e 43 5a 7d ba fe b3 c0 6e 51 c1 3c ae 4d 54 13 69 1e 52
    9a af 2c 00 2b 00 03 02 03 04 00 0d 00 20 00 1e 04 03 05 03 06 03 02
    03 08 04 08 05 08 06 04 01 05 01 06 01 02 01 04 02 05 02 06 02 02 02
    00 2d 00 02 01 01 00 1c 00 02 40 01";

const SERVER_HELLO: &str = "
    02 00 00 56 03 03 a6 af 06 a4 12 18 60 dc 5e 6e 60 24 9c d3 4c 95 93
    0c 8a c5 cb 14 34 da c1 55 77 2e d3 e2 69 28 00 13 01 00 00 2e 00 33
    00 24 00 1d 00 20 c9 82 88 76 11 20 95 fe 66 76 2b db f7 c6 72 e1 56
    d6 cc 25 3b 83 3d f1 dd 69 b1 b0 4e 75 1f 0f 00 2b 00 02 03 04";

/// EncryptedExtensions, Certificate and CertificateVerify.
const UP_TO_CERTIFICATE_VERIFY: &str = "
    08 00 00 24 00 22 00 0a 00 14 00 12 00 1d 00 17 00 18 00 19 01 00 01
    01 01 02 01 03 01 04 00 1c 00 02 40 01 00 00 00 00
    0b 00 01 b9 00 00 01 b5 00 01 b0 30 82 01 ac 30 82 01 15 a0 03 02 01
    02 02 01 02 30 0d 06 09 2a 86 48 86 f7 0d 01 01 0b 05 00 30 0e 31 0c
    30 0a 06 03 55 04 03 13 03 72 73 61 30 1e 17 0d 31 36 30 37 33 30 30
    31 32 33 35 39 5a 17 0d 32 36 30 37 33 30 30 31 32 33 35 39 5a 30 0e
    31 0c 30 0a 06 03 55 04 03 13 03 72 73 61 30 81 9f 30 0d 06 09 2a 86
    48 86 f7 0d 01 01 01 05 00 03 81 8d 00 30 81 89 02 81 81 00 b4 bb 49
    8f 82 79 30 3d 98 08 36 39 9b 36 c6 98 8c 0c 68 de 55 e1 bd b8 26 d3
    90 1a 24 61 ea fd 2d e4 9a 91 d0 15 ab bc 9a 95 13 7a ce 6c 1a f1 9e
    aa 6a f9 8c 7c ed 43 12 09 98 e1 87 a8 0e e0 cc b0 52 4b 1b 01 8c 3e
    0b 63 26 4d 44 9a 6d 38 e2 2a 5f da 43 08 46 74 80 30 53 0e f0 46 1c
    8c a9 d9 ef bf ae 8e a6 d1 d0 3e 2b d1 93 ef f0 ab 9a 80 02 c4 74 28
    a6 d3 5a 8d 88 d7 9f 7f 1e 3f 02 03 01 00 01 a3 1a 30 18 30 09 06 03
    55 1d 13 04 02 30 00 30 0b 06 03 55 1d 0f 04 04 03 02 05 a0 30 0d 06
    09 2a 86 48 86 f7 0d 01 01 0b 05 00 03 81 81 00 85 aa d2 a0 e5 b9 27
    6b 90 8c 65 f7 3a 72 67 17 06 18 a5 4c 5f 8a 7b 33 7d 2d f7 a5 94 36
    54 17 f2 ea e8 f8 a5 8c 8f 81 72 f9 31 9c f3 6b 7f d6 c5 5b 80 f2 1a
    03 01 51 56 72 60 96 fd 33 5e 5e 67 f2 db f1 02 70 2e 60 8c ca e6 be
    c1 fc 63 a4 2a 99 be 5c 3e b7 10 7c 3c 54 e9 b9 eb 2b d5 20 3b 1c 3b
    84 e0 a8 b2 f7 59 40 9b a3 ea c9 d9 1d 40 2d cc 0c c8 f8 96 12 29 ac
    91 87 b4 2b 4d e1 00 00
    0f 00 00 84 08 04 00 80 5a 74 7c 5d 88 fa 9b d2 e5 5a b0 85 a6 10 15
    b7 21 1f 82 4c d4 84 14 5a b3 ff 52 f1 fd a8 47 7b 0b 7a bc 90 db 78
    e2 d3 3a 5c 14 1a 07 86 53 fa 6b ef 78 0c 5e a2 48 ee aa a7 85 c4 f3
    94 ca b6 d3 0b be 8d 48 59 ee 51 1f 60 29 57 b1 54 11 ac 02 76 71 45
    9e 46 44 5c 9e a5 8c 18 1e 81 8e 95 b8 c3 fb 0b f3 27 84 09 d3 be 15
    2a 3d a5 04 3e 06 3d da 65 cd f5 ae a2 0d 53 df ac d4 2f 74 f3";

const SERVER_VERIFY_DATA: &str = "9b9b141d906337fbd2cbdce71df4deda4ab42c309572cb7fffee5454b78f0718";
const CLIENT_VERIFY_DATA: &str = "a8ec436d677634ae525ac1fcebe11a039ec17694fac6e98527b642f2edd5ce61";

#[test]
fn trace_of_rfc_8448() {
    let suite = SuiteHash::Sha256;
    let mut transcript = Transcript(Vec::new());

    let early_secret = suite.early_secret(None);
    assert_is(&early_secret, "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a");

    let dhe = secret("8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d");
    let handshake_secret = suite.handshake_secret(&early_secret, Some(&dhe)).unwrap();
    assert_is(&handshake_secret, "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac");

    let hellos = transcript.add(&[CLIENT_HELLO, SERVER_HELLO]);
    let client = suite.derive_secret(&handshake_secret, Label::CLIENT_HANDSHAKE_TRAFFIC, &hellos).unwrap();
    assert_is(&client, "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21");
    assert_keys(&client, "dbfaa693d1762c5b666af5d950258d01", "5bd3c71b836e0b76bb73265f");
    let server = suite.derive_secret(&handshake_secret, Label::SERVER_HANDSHAKE_TRAFFIC, &hellos).unwrap();
    assert_is(&server, "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38");
    assert_keys(&server, "3fce516009c21727d0f2e4e86ee403bc", "5d313eb2671276ee13000b30");

    let before_finished = transcript.add(&[UP_TO_CERTIFICATE_VERIFY]);
    assert_is(
        &suite.finished_key(&server).unwrap(),
        "008d3b66f816ea559f96b537e885c31fc068bf492c652f01f288a1d8cdc19fc8",
    );
    assert_is(&suite.verify_data(&server, &before_finished).unwrap(), SERVER_VERIFY_DATA);

    let master_secret = suite.master_secret(&handshake_secret).unwrap();
    assert_is(&master_secret, "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919");
    let server_finished = transcript.add(&["14000020", SERVER_VERIFY_DATA]);
    let of_master = |label| suite.derive_secret(&master_secret, label, &server_finished).unwrap();
    let application = of_master(Label::CLIENT_APPLICATION_TRAFFIC);
    assert_is(&application, "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
    assert_keys(&application, "17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9");
    let application = of_master(Label::SERVER_APPLICATION_TRAFFIC);
    assert_is(&application, "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
    assert_keys(&application, "9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984");
    assert_is(&of_master(Label::EXPORTER_MASTER), "fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50");

    assert_is(
        &suite.finished_key(&client).unwrap(),
        "b80ad01015fb2f0bd65ff7d4da5d6bf83f84821d1f87fdc7d3c75b5a7b42d9c4",
    );
    assert_is(&suite.verify_data(&client, &server_finished).unwrap(), CLIENT_VERIFY_DATA);

    let client_finished = transcript.add(&["14000020", CLIENT_VERIFY_DATA]);
    let resumption = suite.derive_secret(&master_secret, Label::RESUMPTION_MASTER, &client_finished).unwrap();
    assert_is(&resumption, "7df235f2031d2a051287d02b0241b0bfdaf86cc856231f2d5aba46c434ec196c");
    let psk = suite.resumption_psk(&resumption, &[0, 0]).unwrap();
    assert_is(&psk, "4ecd0eb6ec3b4d87f5d6028f922ca4c5851a277fd41311c9e62d2c9492e1c4f3");
}

/// RFC 8448 has no trace of a SHA-384 suite. These values were computed with Python's hmac module.
#[test]
fn schedule_with_sha_384() {
    let suite = SuiteHash::Sha384;
    let early_secret = suite.early_secret(Some(&Secret::from_slice(&[1; 48])));
    assert_is(
        &early_secret,
        "73f3bd5d3f418aa1df336ea3e37d8cd0c7a1ed285c91b3a7fa40d634e016be051b8910fa740bd751d6e8404e693de451",
    );
    let handshake_secret = suite.handshake_secret(&early_secret, None).unwrap();
    assert_is(
        &handshake_secret,
        "e9459ad4316d3220ab8b2bb25f2bcec235b76d8d78092c40d932232829849f5caa9aead267460a94c7ba70b7854ab6fa",
    );
    assert_is(
        &suite.verify_data(&handshake_secret, &[2; 48]).unwrap(),
        "8ac00fec63638f3759c0e17669b203241ca0c4b9dd4ccc2d79d3f594358ed8d9e79de4904c7ba560a7937b967833ce3e",
    );
    assert_is(
        &suite.next_traffic_secret(&handshake_secret).unwrap(),
        "409c136ab71149139fe726d056671a2485b28aec2bb4ec0f2841801b58802388f0dd440b59864d8e03225d284a3c90a2",
    );
}

#[test]
fn first_hello_before_a_retry_is_replaced_by_its_hash() {
    let message = SuiteHash::Sha384.message_hash(b"hello");
    assert_eq!(message[..4], [254, 0, 0, 48]);
    assert_eq!(message[4..], Hash::Sha384.digest(&[b"hello"]));
}

#[test]
fn secrets_of_another_hash_are_refused() {
    let (suite, short) = (SuiteHash::Sha384, Secret::zeroed(32));
    assert!(suite.handshake_secret(&short, None).is_none());
    assert!(suite.verify_data(&short, &[0; 48]).is_none());
    assert!(suite.traffic_keys(&short, 32).is_none());
}

struct Transcript(Vec<u8>);

impl Transcript {
    /// The hash after these messages.
    fn add(&mut self, messages: &[&str]) -> Vec<u8> {
        messages.iter().for_each(|message| self.0.extend(bytes(message)));
        Hash::Sha256.digest(&[&self.0])
    }
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(&text.split_whitespace().collect::<String>()).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::from_slice(&bytes(text))
}

fn assert_is(secret: &Secret, expected: &str) {
    assert_eq!(hex::encode(secret.as_bytes()), expected);
}

fn assert_keys(traffic_secret: &Secret, key: &str, iv: &str) {
    let keys = SuiteHash::Sha256.traffic_keys(traffic_secret, 16).unwrap();
    assert_is(&keys.write_key, key);
    assert_is(&keys.write_iv, iv);
}
