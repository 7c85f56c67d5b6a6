/* SPDX-License-Identifier: MIT */
/* Known answers (FIPS 180-4, RFC 4231, RFC 4648, Svix) and strict decoders. */
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

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_sha256_known_answers),
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
    };

    return check_main("crypto", tests, CHECK_COUNT(tests));
}
