#include "server/http_parse.h"

#include "tests/help/rng.h"

#include <criterion/criterion.h>

static struct http_head head;
static const char *why;

static int parse(const char *text)
{
    why = "";
    return http_head_parse(span_str(text), &head, &why);
}

#define IS(span, text) cr_assert(span_eq((span), span_str(text)), "is \"%.*s\"", SPAN_ARG(span))

Test(http_head, takes_a_plain_request_apart)
{
    cr_assert_eq(parse("GET /render/?target=a.b&from=-1h HTTP/1.1\r\nHost: x\r\nAccept : y\r\n\r\n"), 400);
    cr_assert_eq(parse("GET /render/?target=a.b&from=-1h HTTP/1.1\r\nHost: x\r\nACCEPT:  y \r\n\r\n"), 0);
    cr_assert_eq(head.method, HTTP_GET);
    IS(head.path, "/render/");
    IS(head.query, "target=a.b&from=-1h");
    IS(http_field(&head, "accept"), "y");
    cr_assert_null(http_field(&head, "nothing").ptr);
    cr_assert(head.keep_alive);
    cr_assert_eq(head.content_length, 0);
}

Test(http_head, leaves_raw_bytes_of_a_target_alone)
{
    cr_assert_eq(parse("GET /render?target=a.{b,c}|\"<>^`\\ x \xc3\xbc HTTP/1.1\nHost: x\n\n"), 0);
    IS(head.query, "target=a.{b,c}|\"<>^`\\ x \xc3\xbc");
}

Test(http_head, reads_an_absolute_target)
{
    cr_assert_eq(parse("GET http://h:80/a?b HTTP/1.1\r\nHost: x\r\n\r\n"), 0);
    IS(head.path, "/a");
    IS(head.query, "b");
    cr_assert_eq(parse("GET http://h HTTP/1.1\r\nHost: x\r\n\r\n"), 0);
    IS(head.path, "/");
}

Test(http_head, keeps_the_connection_as_version_and_header_say)
{
    cr_assert_eq(parse("GET / HTTP/1.0\r\n\r\n"), 0);
    cr_assert_not(head.keep_alive);
    cr_assert_eq(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), 0);
    cr_assert(head.keep_alive);
    cr_assert_eq(parse("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n"), 0);
    cr_assert_not(head.keep_alive);
}

Test(http_head, refuses_what_two_servers_could_read_differently)
{
    static const char *const bad[] = {
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1,1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET /\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "G{T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(parse(bad[i]), 400, "taken: %s", bad[i]);
    cr_assert_eq(parse("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 501);
    cr_assert_eq(parse("GET / HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
}

Test(http_head, has_a_limit_of_header_lines)
{
    char text[4096] = "GET / HTTP/1.1\r\nHost: x\r\n";

    for (int i = 0; i < HTTP_FIELDS_MAX; i++)
        strcat(text, "a: b\r\n");
    strcat(text, "\r\n");
    cr_assert_eq(parse(text), 431);
}

Test(http_head, ends_where_the_empty_line_is_however_it_arrives)
{
    static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\nrest", "GET / HTTP/1.1\nHost: x\n\nrest",
                                        "GET / HTTP/1.1\r\nHost: x\n\r\nrest"};

    for (int t = 0; t < 3; t++) {
        size_t all = strlen(texts[t]) - 4;
        size_t seen = 0;

        for (size_t len = 0; len < all; len++)
            cr_assert_eq(http_head_length(span_of(texts[t], len), &seen), 0, "at %zu of %d", len, t);
        cr_assert_eq(http_head_length(span_of(texts[t], all), &seen), all);
        seen = 0;
        cr_assert_eq(http_head_length(span_str(texts[t]), &seen), all);
    }
    cr_assert_eq(http_blank(SPAN_LIT("\r\n\n\r\nGET")), 5);
    cr_assert_eq(http_blank(SPAN_LIT("\r")), 0);
}

Test(http_list, finds_words_and_honours_a_weight_of_zero)
{
    cr_assert(http_list_has(SPAN_LIT("deflate, GZip;q=0.5"), "gzip"));
    cr_assert_not(http_list_has(SPAN_LIT("gzip;q=0"), "gzip"));
    cr_assert_not(http_list_has(SPAN_LIT("gzip ; q=0.000, br"), "gzip"));
    cr_assert_not(http_list_has(SPAN_LIT("xgzip"), "gzip"));
    cr_assert_not(http_list_has((struct span){0}, "gzip"));
}

static const char chunked[] = "4\r\nWiki\r\n6;x=y\r\npedia \r\nA \r\nin chunks.\r\n0\r\nTrailer: x\r\n\r\nnext";

Test(http_chunked, decodes_the_same_however_it_is_cut)
{
    size_t all = sizeof(chunked) - 1 - 4;

    for (size_t cut = 0; cut <= all; cut++) {
        struct http_chunked c = {0};
        struct buf out = {0};

        cr_assert_eq(http_chunked_feed(&c, span_of(chunked, cut), &out), (ssize_t)cut);
        cr_assert_eq(http_chunked_feed(&c, span_of(chunked + cut, sizeof(chunked) - 1 - cut), &out),
                     (ssize_t)(all - cut));
        cr_assert_eq(c.state, CHUNK_DONE);
        IS(buf_span(&out), "Wikipedia in chunks.");
        buf_release(&out);
    }
}

Test(http_chunked, refuses_what_is_no_chunk)
{
    static const char *const bad[] = {"g\r\n", "\r\n", "1\r\nab", "-1\r\n", "fffffffffffffffff\r\n", "0x1\r\na"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct http_chunked c = {0};
        struct buf out = {0};

        cr_assert_eq(http_chunked_feed(&c, span_str(bad[i]), &out), -1, "taken: %s", bad[i]);
        buf_release(&out);
    }
}

Test(http_chunked, stops_a_sender_of_nothing_but_trailers)
{
    struct http_chunked c = {0};
    struct buf out = {0};
    ssize_t n = http_chunked_feed(&c, SPAN_LIT("0\r\n"), &out);

    for (int i = 0; i < 20000 && n >= 0; i++)
        n = http_chunked_feed(&c, SPAN_LIT("x: y\r\n"), &out);
    cr_assert_eq(n, -1);
}

/* Garbage may be refused or taken, but nothing outside of it is read (the sanitizers watch). */
Test(http_head, survives_garbage)
{
    static const char *const pieces[] = {"GET ", "/",      " HTTP/1.1", "\r\n", "\n", "Host: x", ":",
                                         "\r",   " ",      "a=b&%",     "?",    "\t", "",        "Content-Length",
                                         ": 12", "chunked"};

    FOR_SEEDS (seed, 2000) {
        struct rng rng = rng_from(seed);
        struct buf text = {0};
        struct buf out = {0};
        struct http_chunked c = {0};
        size_t seen = 0;

        for (uint64_t i = rng_below(&rng, 20); i > 0; i--) {
            const char *piece = pieces[rng_below(&rng, 16)];

            buf_add(&text, piece, *piece == '\0' ? 1 : strlen(piece)); /* the empty one stands for a zero byte */
        }
        cr_assert_leq(http_head_length(buf_span(&text), &seen), text.len);
        http_head_parse(buf_span(&text), &head, &why);
        http_chunked_feed(&c, buf_span(&text), &out);
        buf_release(&out);
        buf_release(&text);
    }
}

Test(http_unescape, undoes_what_is_escaped_and_leaves_the_rest)
{
    char text[] = "a%20b%zz%4";
    size_t len = http_unescape(text, strlen(text));

    IS(span_of(text, len), "a b%zz%4");
}
