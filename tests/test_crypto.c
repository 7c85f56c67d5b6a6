/* SPDX-License-Identifier: MIT */
/* Known answers (FIPS 180-4, RFC 4231, RFC 4648, Svix), strict decoders and RSA keys. */
#include "common/crypto.h"

#include <string.h>

#include "tests/check.h"

#include "common/banned.h"

static const char *
hex(const void *bytes, size_t length)
{
    static char storage[512];
    struct buf out;

    buf_init(&out, storage, sizeof(storage));
    buf_add_hex(&out, bytes, length);
    return buf_text(&out);
}

static void
check_sha256(const void *bytes, size_t length, const char *want)
{
    uint8_t digest[SHA256_BYTES];

    crypto_sha256(bytes, length, digest);
    CHECK_STRING("sha256", want, hex(digest, sizeof(digest)));
}

/* However the bytes are cut. */
static void
test_sha256_of_pieces_is_that_of_the_whole(void)
{
    static const char text[] =
        "a text that is longer than the 64 bytes which SHA-256 takes at once";
    uint8_t want[SHA256_BYTES], got[SHA256_BYTES];
    struct sha256 digest;

    crypto_sha256(text, strlen(text), want);
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        sha256_begin(&digest);
        for (size_t at = 0; at < strlen(text); at += piece)
            sha256_add(&digest, text + at, strlen(text) - at < piece ? strlen(text) - at : piece);
        sha256_end(&digest, got);
        CHECK_TRUE("the same", crypto_equal(want, got, sizeof(got)));
    }
    sha256_begin(&digest);
    sha256_end(&digest, got);
    crypto_sha256("", 0, want);
    CHECK_TRUE("of nothing", crypto_equal(want, got, sizeof(got)));
}

static void
test_sha256_known_answers(void)
{
    static char million[1000000];

    check_sha256("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_sha256("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(million, 'a', sizeof(million));
    check_sha256(million, sizeof(million),
                 "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void
check_hmac(const char *key, size_t key_length, const char *text, const char *want)
{
    uint8_t mac[SHA256_BYTES];

    crypto_hmac_sha256(key, key_length, text, strlen(text), mac);
    CHECK_STRING("hmac", want, hex(mac, sizeof(mac)));
}

static void
test_hmac_sha256_known_answers(void)
{
    char key[131];

    memset(key, 0x0b, 20);
    check_hmac(key, 20, "Hi There",
               "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    check_hmac("Jefe", 4, "what do ya want for nothing?",
               "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    check_hmac(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First",
               "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    check_hmac("", 0, "", "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void
test_svix_signature_known_answer(void)
{
    static const char secret[] = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    static const char want[] = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    static const char signed_text[] =
        "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
    uint8_t key[64], signature[64], mac[SHA256_BYTES];
    size_t key_length, signature_length;

    CHECK_TRUE("secret", base64_decode(secret, strlen(secret), key, sizeof(key), &key_length));
    CHECK_INT("key", 24, key_length);
    CHECK_TRUE("signature",
               base64_decode(want, strlen(want), signature, sizeof(signature), &signature_length));
    CHECK_INT("signature", SHA256_BYTES, signature_length);
    crypto_hmac_sha256(key, key_length, signed_text, strlen(signed_text), mac);
    CHECK_TRUE("equal", crypto_equal(mac, signature, SHA256_BYTES));
}

static void
test_equal_sees_every_byte(void)
{
    uint8_t a[SHA256_BYTES] = { 0 }, b[SHA256_BYTES] = { 0 };

    CHECK_TRUE("same", crypto_equal(a, b, sizeof(a)));
    CHECK_TRUE("nothing", crypto_equal(a, b, 0));
    for (size_t i = 0; i < sizeof(a); i++) {
        b[i] = 0x80;
        CHECK_FALSE("different", crypto_equal(a, b, sizeof(a)));
        b[i] = 0;
    }
}

static void
test_random_fills_the_whole_range(void)
{
    uint8_t bytes[66] = { 0 }, again[64];

    crypto_random(bytes + 1, 64);
    crypto_random(again, 64);
    CHECK_INT("before", 0, bytes[0]);
    CHECK_INT("after", 0, bytes[65]);
    CHECK_FALSE("same twice", memcmp(bytes + 1, again, 64) == 0);
    /* a tail that stays zero eight bytes long by chance: 2^-64 */
    CHECK_FALSE("tail untouched", memcmp(bytes + 57, "\0\0\0\0\0\0\0\0", 8) == 0);
    crypto_random(bytes, 0);
}

static void
test_wipe_clears(void)
{
    char bytes[] = "secret";

    crypto_wipe(bytes, sizeof(bytes));
    CHECK_TRUE("cleared", memcmp(bytes, "\0\0\0\0\0\0", sizeof(bytes)) == 0);
}

static void
check_base64url(const char *bytes, const char *want)
{
    char storage[64], decoded[64];
    struct buf out;
    size_t length = 99;

    buf_init(&out, storage, sizeof(storage));
    buf_add_base64url(&out, bytes, strlen(bytes));
    CHECK_STRING("encoded", want, buf_text(&out));
    CHECK_TRUE("decodes", base64url_decode(want, strlen(want), decoded, strlen(bytes), &length));
    CHECK_INT("length", strlen(bytes), length);
    CHECK_TRUE("same", memcmp(bytes, decoded, length) == 0);
}

static void
test_base64url_round_trip(void)
{
    check_base64url("", "");
    check_base64url("f", "Zg");
    check_base64url("fo", "Zm8");
    check_base64url("foo", "Zm9v");
    check_base64url("foob", "Zm9vYg");
    check_base64url("fooba", "Zm9vYmE");
    check_base64url("foobar", "Zm9vYmFy");
    check_base64url("\xff\xef\xbe\xfb", "_---"
                                        "-w");
}

static void
test_encoders_fail_when_they_do_not_fit(void)
{
    char storage[8];
    struct buf out;

    buf_init(&out, storage, sizeof(storage));
    buf_add_hex(&out, "\x01\x02\x03\x04", 4);
    CHECK_TRUE("hex", buf_failed(&out));
    buf_clear(&out);
    buf_add_base64url(&out, "foobar", 6);
    CHECK_TRUE("base64url", buf_failed(&out));
}

struct decoder {
    bool (*decode)(const char *text, size_t text_length, void *out, size_t size, size_t *length);
};

static void
check_decoder_refuses(struct decoder decoder, const char *text)
{
    unsigned char out[64];
    size_t length = 99;

    CHECK_FALSE("decoded", decoder.decode(text, strlen(text), out, sizeof(out), &length));
    CHECK_INT(text, 0, length);
}

static void
test_base64url_refuses_other_texts(void)
{
    const struct decoder decoder = { base64url_decode };
    static const char *const texts[] = { "Z",    "Zg==", "Zm9vY", "Zh",  "Zm9",  "Zm+v",
                                         "Zm/v", "Zm 8", "Zm8\n", "Z=g", "Zm9v=" };

    for (size_t i = 0; i < CHECK_COUNT(texts); i++)
        check_decoder_refuses(decoder, texts[i]);
}

static void
test_base64_requires_its_padding(void)
{
    const struct decoder decoder = { base64_decode };
    static const char *const texts[] = { "Zg",   "Zg=",  "Zh==", "Zm9=",     "Z===",
                                         "====", "Zm-v", "Zm_v", "Zg==Zg==", "Zm8=\n" };
    unsigned char out[8];
    size_t length = 99;

    for (size_t i = 0; i < CHECK_COUNT(texts); i++)
        check_decoder_refuses(decoder, texts[i]);
    CHECK_TRUE("empty", base64_decode("", 0, out, 0, &length));
    CHECK_INT("empty", 0, length);
    CHECK_TRUE("one", base64_decode("Zg==", 4, out, 1, &length));
    CHECK_INT("one", 1, length);
    CHECK_TRUE("two", base64_decode("+/8=", 4, out, 2, &length));
    CHECK_STRING("two", "fbff", hex(out, length));
    CHECK_FALSE("no room", base64_decode("Zm8=", 4, out, 1, &length));
    CHECK_INT("no room", 0, length);
}

static void
test_hex_takes_both_cases_and_nothing_else(void)
{
    const struct decoder decoder = { hex_decode };
    static const char *const texts[] = { "0",   "0g", "g0", "0x", " 0", "00 ",
                                         "a\n", "/0", ":0", "@0", "`0" };
    unsigned char out[4];
    size_t length = 99;

    for (size_t i = 0; i < CHECK_COUNT(texts); i++)
        check_decoder_refuses(decoder, texts[i]);
    CHECK_TRUE("both cases", hex_decode("00aFFa9C", 8, out, sizeof(out), &length));
    CHECK_STRING("both cases", "00affa9c", hex(out, length));
    CHECK_FALSE("no room", hex_decode("00aFFa9C00", 10, out, sizeof(out), &length));
    CHECK_INT("no room", 0, length);
    CHECK_TRUE("empty", hex_decode("", 0, out, 0, &length));
}

/* ---- RSA ----------------------------------------------------------------------------------------
 */

/* Made once; the private keys are gone. The signatures are of "The quick brown fox". */
static const char rsa_2048[] = "-----BEGIN PUBLIC KEY-----\n"
                               "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvs1cFxSE/G1o5Kn6qhqB\n"
                               "dITgwPLSnWoLFTtTXls3tPgK3/rGqwqU0AZDxGN80LKLYATlKy2b4c4pKYP7GCI9\n"
                               "MJLnkgYYahUGWXZLQhXRjGjHl37L1/KCVIUcO0CS7Bo6QqO7IDIOJjBZd0eSzhzH\n"
                               "ihevYIx1A9YZJ6TlHhA1kgJKWTdaBCGXTpRs38wPaE0R6E9fY/FARDcBvs5dq8dk\n"
                               "h0yl4zzZvOARI3TpCcJyPr5JW5STt+F2Xul68S9f0stQCysb4/eEwn0pk4xqjyAb\n"
                               "dVf9wjQdqZ/HBVHVAWb8vwI+ABgXVBbMVIqyAFuwc49aXqnZb6E4B3u1aeei0LqG\n"
                               "4wIDAQAB\n"
                               "-----END PUBLIC KEY-----\n";
static const char rsa_2048_modulus[] =
    "becd5c171484fc6d68e4a9faaa1a817484e0c0f2d29d6a0b153b535e5b37b4f80adffac6ab0a94d0"
    "0643c4637cd0b28b6004e52b2d9be1ce292983fb18223d3092e79206186a150659764b4215d18c68"
    "c7977ecbd7f28254851c3b4092ec1a3a42a3bb20320e263059774792ce1cc78a17af608c7503d619"
    "27a4e51e103592024a59375a0421974e946cdfcc0f684d11e84f5f63f140443701bece5dabc76487"
    "4ca5e33cd9bce0112374e909c2723ebe495b9493b7e1765ee97af12f5fd2cb500b2b1be3f784c27d"
    "29938c6a8f201b7557fdc2341da99fc70551d50166fcbf023e0018175416cc548ab2005bb0738f5a"
    "5ea9d96fa138077bb569e7a2d0ba86e3";
static const char signed_sha256[] =
    "2a565587d5d18ac41bdd973d784e828cd440a20e7a51f28f8ae26f900eb548f64f9ec2e9bed9683d"
    "679d2da34dbe9bde50fca72d67a683e1357ac5100c90d239c6243492afda0202049b60fd88b99487"
    "143c3c1baa0403f1f85fd7c62ffcb2d3b538aec46d8d5882bbc491ca23edf1b515326bc064b660e2"
    "f600aa04bd26898b5957f5c015dfbd98e4ca51f058071b3c055edbd168b2707f26682d4219d83f4e"
    "0853291afa03b8bce34a88b6eea05c0137227c67c7365f7e67b5178bfe57e787a1d92435292c7826"
    "9e390c2c5c481aa96c8ff1a65cff3c14f3c9057e02b0b13d59d896f08f76c6193f8ab91fab4eadeb"
    "f0d5c41100df1a4853825756811be40d";
static const char signed_sha384[] =
    "6408a0904ba6e1aa15d46f64077b93c3add9fb423d26a5b926264a9e15e5e28f36f0e57c5b953dd6"
    "1e5315e714d41134bdf65fc0a3e32ae3992b890b6447fec25dee6fff8bcc9946b83852abee3356f3"
    "14643ddf7555cfed14f24d884bdfca97d47df2de97a42af3268efa6448484a86e37eea7f5a199504"
    "093e6486b6ad6054b565f2881bd032ce93293fecfa236ed39c706d629fc82eac259e177b0a448ce0"
    "e7ec33ee33ff0f06ed5b3b975bb650e8d490b46084138e1cb5a4a42b5584bf3c672e6fae7b1a3f7b"
    "da97a303f51d0337efca90794d0d093ece719c63844d0fe7367f194a07e00446465dcaece3241cb1"
    "ed270f82a61de491dfeea37a3eafeef1";
static const char signed_sha512[] =
    "abe1d564240de2c9d5c42c0788d6ad962ef606fa547db13ab6233b799e487dbb5a1b04f11fa90a66"
    "d601f0e1ecb717f91851bc0a8f3e82c1253221c438105b3b7f925e39dc49146bb07c395ab6055199"
    "7a8050a7882eb5ac54fa357a62a697dabc8d74fb807bd976e7d0da2ded6b7e12588410fc8996c07d"
    "286e88acc5a9515cb65798a7b628aeb09bac96876fd559f54e388ac5f90cbb0b3229cfdd354138f7"
    "4c9f162b8e02475d92c06007d27428a8dbbaa4016d3ed9d41e676f1cddb87e6b67207cf4832f2499"
    "748b107980bfa518da88459f182b506bcdd307d1639b28af909d338a5a5a562edf715e96c9e6d3ec"
    "fece33cf06bca8b10b47daed940c1988";
static const char signed_pss[] =
    "47a1803bb9eda4490b8732f90915319cd6a30b7bb21aaa73b66544598b06d886d4fb798ed6ed12df"
    "56ed9a5596d90948512d5f68a25d70505f9b342dd56c4ff6ef49e34b703df33b77bd0c36350084c9"
    "1c19630ab17ad72f59fcdd604e9ce5d64501333a40a893f86ea104fa8ef70eb13732efddc214e1c2"
    "a7f8dc309fea549a1e5eae225aac1c06e20113c1f0aa948f787ceb7f24785221ddb7fd178e0967bb"
    "786266408e25274dad065ac308835ff94f50e8c3e974adb04af6a0f4c80efc0bbc817f3ef72fe1c9"
    "264b51818d9e4279bff4c8810a49d037f1292ec20774a6d34967f2fab2d704507f2dd51c0f5e4231"
    "f1048751fb558e2e0f50ab6ddecbf98e";
static const char rsa_1024[] = "-----BEGIN PUBLIC KEY-----\n"
                               "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC1+Sua35kTA6oFKSMYfxCMgi8X\n"
                               "kbU968c0zK15jrLv9QsRFzZ8wzdWdjw8Vkz9tC5aq8g9mOW0ZthAvyTk8Vlk3sWT\n"
                               "HyOM/IREL1VGzubzHU+xkh/MbMZIgrajyzG6me1nNbTOitDAX1wTgfMyZO6oZXEs\n"
                               "bHC4QQzQ1WY5fEOIswIDAQAB\n"
                               "-----END PUBLIC KEY-----\n";
static const char rsa_exponent_3[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MIIBIDANBgkqhkiG9w0BAQEFAAOCAQ0AMIIBCAKCAQEAww9DF/cRzJoWGoAPfhxc\n"
    "QWMjIpQCZf/3USNCCi3zdoVaLRfU93+488h5KAOZvw69fSnrPVrfx0F6dR/zIwR/\n"
    "yLtvoPZK45dvq41GvQHfGbJdLrv8SRMwqFE9FU/Ta0FbH435nm+jo0rwaC8hvlWf\n"
    "+8z7cETkHa5umULTwRl0+fWqOZA6PhpArB30jceAwY1lIGfKb2QSPco4VjtmXxDJ\n"
    "DPqvFSfsUyvwrBZv2tVrM4FaohOgBx4HKijl4zKyPMqHl+172jX0nVER/wzKVOZS\n"
    "dmrWJrLXgvIJOYYe23Qs2nte1UMs5FMoxb42CpAhGiIs3jRCrZNHikZ26GMgik3u\n"
    "8QIBAw==\n"
    "-----END PUBLIC KEY-----\n";
static const char rsa_pss_2048[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBAJpYcpxLHoX34rXt3Ihpn/HO\n"
    "UuemOsVDXZdCwGwsuLKpfbRNqd8XaMjltpSk6F6/Tu7rQwONLFhhlKSH2IwgDLts\n"
    "6FR/Gd/1RQ0gdvcDw4/Fb0tS7LqURkncLnA59biksSUOwRd9Vl8A7LJfqlhPoYOd\n"
    "cC2FnRXlDZyE0jq7jiIUu5px7YgvmghwR/eaxOA8k/wB1M4xDYurxSzV4Rg0gx4e\n"
    "+y+mn+XlT2J1FiVj1eh1Sbh2Jvf8e5i02TuIRdjRFKxnXY3DSfViE0hTeTEQB84g\n"
    "jNBs+yRPrlPTo4ZmkSJcTmOR2qTDgdpaleDGcKYGwvq9wO+00/Adjz/ViWdxVh8C\n"
    "AwEAAQ==\n"
    "-----END PUBLIC KEY-----\n";
static const char elliptic[] = "-----BEGIN PUBLIC KEY-----\n"
                               "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEGqOVbmu3LQbRG1Jf8dUQu5XgjXk/\n"
                               "o2VM9GK6VzmJ2ZePLhDM360sl7MwDvhSDWvF9jZmnTahw1urBpv8vlOQdA==\n"
                               "-----END PUBLIC KEY-----\n";

#define SIGNED "The quick brown fox"

static void
check_signature(const struct rsa_key *key, enum rsa_digest digest, const char *text, bool want)
{
    unsigned char signature[512];
    size_t length = 0;

    CHECK_TRUE("hex", hex_decode(text, strlen(text), signature, sizeof(signature), &length));
    CHECK_INT("verified", want,
              rsa_key_verify(key, digest, SIGNED, strlen(SIGNED), signature, length));
    CHECK_FALSE("other text", rsa_key_verify(key, digest, SIGNED, 1, signature, length));
    CHECK_FALSE("cut", rsa_key_verify(key, digest, SIGNED, strlen(SIGNED), signature, length - 1));
    CHECK_FALSE("none", rsa_key_verify(key, digest, SIGNED, strlen(SIGNED), signature, 0));
    signature[length - 1] ^= 1;
    CHECK_FALSE("one bit", rsa_key_verify(key, digest, SIGNED, strlen(SIGNED), signature, length));
}

static void
check_signatures(const struct rsa_key *key)
{
    check_signature(key, RSA_SHA256, signed_sha256, true);
    check_signature(key, RSA_SHA384, signed_sha384, true);
    check_signature(key, RSA_SHA512, signed_sha512, true);
    check_signature(key, RSA_SHA512, signed_sha256, false);
    check_signature(key, RSA_SHA256, signed_sha384, false);
    check_signature(key, RSA_SHA256, signed_pss, false);
}

static void
test_rsa_verifies_with_a_pem_key_and_with_its_numbers(void)
{
    unsigned char modulus[RSA_SIGNATURE_MAX];
    struct rsa_key *key = NULL;
    struct error err;
    size_t length = 0;

    CHECK_STATUS(STATUS_OK, rsa_key_from_pem(rsa_2048, strlen(rsa_2048), &key, &err), &err);
    check_signatures(key);
    rsa_key_free(key);
    CHECK_TRUE("modulus", hex_decode(rsa_2048_modulus, strlen(rsa_2048_modulus), modulus,
                                     sizeof(modulus), &length));
    CHECK_STATUS(STATUS_OK, rsa_key_from_parts(modulus, length, "\1\0\1", 3, &key, &err), &err);
    check_signatures(key);
    rsa_key_free(key);
}

static void
test_rsa_keys_are_equal_by_their_numbers(void)
{
    unsigned char modulus[RSA_SIGNATURE_MAX];
    struct rsa_key *pem = NULL, *same = NULL, *other = NULL;
    struct error err;
    size_t length = 0;

    CHECK_STATUS(STATUS_OK, rsa_key_from_pem(rsa_2048, strlen(rsa_2048), &pem, &err), &err);
    CHECK_TRUE("modulus", hex_decode(rsa_2048_modulus, strlen(rsa_2048_modulus), modulus,
                                     sizeof(modulus), &length));
    CHECK_STATUS(STATUS_OK, rsa_key_from_parts(modulus, length, "\1\0\1", 3, &same, &err), &err);
    modulus[length - 2] ^= 2;
    CHECK_STATUS(STATUS_OK, rsa_key_from_parts(modulus, length, "\1\0\1", 3, &other, &err), &err);
    CHECK_TRUE("the same numbers", rsa_key_equal(pem, same));
    CHECK_FALSE("another modulus", rsa_key_equal(pem, other));
    rsa_key_free(pem);
    rsa_key_free(same);
    rsa_key_free(other);
}

/* Environment variables lose the line ends, or hold them as two characters. */
static void
test_rsa_reads_a_pem_without_line_ends(void)
{
    static const char *const ends[] = { "", " ", "\\n", "\r\n", "\\r\\n" };

    for (size_t i = 0; i < CHECK_COUNT(ends); i++) {
        char text[1024];
        struct buf pem;
        struct rsa_key *key = NULL;
        struct error err;

        buf_init(&pem, text, sizeof(text));
        for (const char *c = rsa_2048; *c != '\0'; c++) {
            if (*c == '\n')
                buf_add(&pem, ends[i]);
            else
                buf_add_char(&pem, *c);
        }
        CHECK_STATUS(STATUS_OK, rsa_key_from_pem(text, pem.length, &key, &err), &err);
        check_signature(key, RSA_SHA256, signed_sha256, true);
        rsa_key_free(key);
    }
}

static void
check_pem_refused(const char *pem, const char *why)
{
    struct rsa_key *key = (struct rsa_key *)(uintptr_t)1;
    struct error err;

    CHECK_STATUS(STATUS_INVALID, rsa_key_from_pem(pem, strlen(pem), &key, &err), &err);
    CHECK_STRING("why", why, err.message);
    CHECK_TRUE("no key", key == NULL);
}

static void
test_rsa_refuses_keys_that_are_weak_or_of_another_kind(void)
{
    static const char no_pem[] = "not a PEM public key (-----BEGIN PUBLIC KEY-----)";
    char cut[sizeof(rsa_2048)];
    char *end;

    check_pem_refused(rsa_1024, "an RSA key of 1024 bits: 2048 to 8192 are accepted");
    check_pem_refused(rsa_exponent_3, "an RSA key with an unsafe public exponent");
    check_pem_refused(rsa_pss_2048, "not a public RSA key");
    check_pem_refused(elliptic, "not a public RSA key");
    check_pem_refused("", no_pem);
    check_pem_refused("-----BEGIN PUBLIC KEY-----AAAA", no_pem);
    check_pem_refused("-----BEGIN PUBLIC KEY-----A\\-----END PUBLIC KEY-----", no_pem);
    check_pem_refused("-----BEGIN PUBLIC KEY----------END PUBLIC KEY-----", "not a public RSA key");
    check_pem_refused("-----BEGIN PUBLIC KEY-----AAAA-----END PUBLIC KEY-----",
                      "not a public RSA key");
    memcpy(cut, rsa_2048, sizeof(cut));
    end = strstr(cut, "-----END");
    memmove(end - 5, end, strlen(end) + 1); /* four characters and the line end less */
    check_pem_refused(cut, "not a public RSA key");
}

static void
check_numbers_refused(const void *modulus, size_t modulus_length, const char *exponent,
                      size_t exponent_length, const char *why)
{
    struct rsa_key *key = NULL;
    struct error err;

    CHECK_STATUS(STATUS_INVALID,
                 rsa_key_from_parts(modulus, modulus_length, exponent, exponent_length, &key, &err),
                 &err);
    CHECK_STRING("why", why, err.message);
}

static void
test_rsa_refuses_numbers_out_of_range(void)
{
    static const char length[] = "an RSA key whose numbers are too short or too long";
    static const char unsafe[] = "an RSA key with an unsafe public exponent";
    unsigned char modulus[RSA_SIGNATURE_MAX + 1];

    memset(modulus, 0xff, sizeof(modulus));
    check_numbers_refused(modulus, 0, "\1\0\1", 3, length);
    check_numbers_refused(modulus, sizeof(modulus), "\1\0\1", 3, length);
    check_numbers_refused(modulus, 256, "", 0, length);
    check_numbers_refused(modulus, 256, "\1\0\0\0\0\0\0\0\1", 9, length);
    check_numbers_refused(modulus, 256, "\3", 1, unsafe);
    check_numbers_refused(modulus, 256, "\0\0\1", 3, unsafe);
    check_numbers_refused(modulus, 256, "\1\0\2", 3, unsafe);
    check_numbers_refused(modulus, 255, "\1\0\1", 3,
                          "an RSA key of 2040 bits: 2048 to 8192 are accepted");
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_sha256_known_answers),
        CHECK_TEST(test_sha256_of_pieces_is_that_of_the_whole),
        CHECK_TEST(test_hmac_sha256_known_answers),
        CHECK_TEST(test_svix_signature_known_answer),
        CHECK_TEST(test_equal_sees_every_byte),
        CHECK_TEST(test_random_fills_the_whole_range),
        CHECK_TEST(test_wipe_clears),
        CHECK_TEST(test_base64url_round_trip),
        CHECK_TEST(test_encoders_fail_when_they_do_not_fit),
        CHECK_TEST(test_base64url_refuses_other_texts),
        CHECK_TEST(test_base64_requires_its_padding),
        CHECK_TEST(test_hex_takes_both_cases_and_nothing_else),
        CHECK_TEST(test_rsa_verifies_with_a_pem_key_and_with_its_numbers),
        CHECK_TEST(test_rsa_keys_are_equal_by_their_numbers),
        CHECK_TEST(test_rsa_reads_a_pem_without_line_ends),
        CHECK_TEST(test_rsa_refuses_keys_that_are_weak_or_of_another_kind),
        CHECK_TEST(test_rsa_refuses_numbers_out_of_range),
    };

    return check_main("crypto", tests, CHECK_COUNT(tests));
}
