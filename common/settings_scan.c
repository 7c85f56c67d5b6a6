/* SPDX-License-Identifier: MIT */
/* Words, strings and comments of a settings file; see settings_scan.h. */
#include "common/settings_scan.h"

#include <string.h>

#include "common/banned.h"

enum expected { EXPECT_KEY, EXPECT_AFTER_KEY, EXPECT_TITLE_END, EXPECT_VALUE, EXPECT_IN_LIST };

#define DEPTH_MAX 8 /* braces within braces; the table needs three */

struct scanner {
    char *at;
    char *end;
    int line;
    enum expected expected; /* only as exact as a quoted key needs: libconfuse judges the grammar */
    int depth;
    int opened[DEPTH_MAX]; /* line of each open brace */
    struct problem_list *problems;
};

static bool
refuse(struct scanner *scanner, int line, const char *problem)
{
    problem_error(scanner->problems, line, NULL, "%s", problem);
    return false;
}

static bool
is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static bool
is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_.:/@%-", c) != NULL);
}

static bool
begins(const struct scanner *scanner, const char *text)
{
    size_t length = strlen(text);

    return (size_t)(scanner->end - scanner->at) >= length && memcmp(scanner->at, text, length) == 0;
}

static void
blank_line(struct scanner *scanner)
{
    while (scanner->at < scanner->end && *scanner->at != '\n')
        *scanner->at++ = ' ';
}

static bool
blank_comment(struct scanner *scanner)
{
    int first_line = scanner->line;

    scanner->at[0] = scanner->at[1] = ' ';
    scanner->at += 2;
    while (scanner->at < scanner->end && !begins(scanner, "*/")) {
        if (*scanner->at == '\n')
            scanner->line++;
        else
            *scanner->at = ' ';
        scanner->at++;
    }
    if (scanner->at == scanner->end)
        return refuse(scanner, first_line, "a comment without its end");
    scanner->at[0] = scanner->at[1] = ' ';
    scanner->at += 2;
    return true;
}

/* The byte at `at` inside a string, and what it hides. Moves on by one; an escape is two. */
static bool
scan_string_byte(struct scanner *scanner, char quote)
{
    if (*scanner->at == '\n')
        return refuse(scanner, scanner->line, "a text without its closing quote");
    if (is_control(*scanner->at))
        return refuse(scanner, scanner->line, "a control byte in a text");
    if (quote == '"' && begins(scanner, "${"))
        return refuse(scanner, scanner->line,
                      "\"${\" is not replaced from the environment: write \"\\${\"");
    if (*scanner->at == '\\') {
        const char *escapes = quote == '"' ? "\\\"$" : "\\'";

        scanner->at++;
        if (scanner->at == scanner->end || *scanner->at == '\0' ||
            strchr(escapes, *scanner->at) == NULL)
            return refuse(scanner, scanner->line, "an unknown escape: write \\\\ for a backslash");
    }
    scanner->at++;
    return true;
}

static bool
scan_string(struct scanner *scanner)
{
    char quote = *scanner->at++;

    while (scanner->at < scanner->end && *scanner->at != quote) {
        if (!scan_string_byte(scanner, quote))
            return false;
    }
    if (scanner->at == scanner->end)
        return refuse(scanner, scanner->line, "a text without its closing quote");
    scanner->at++;
    return true;
}

/* A word or a string was read. */
static void
expect_after_text(struct scanner *scanner)
{
    if (scanner->expected == EXPECT_KEY)
        scanner->expected = EXPECT_AFTER_KEY;
    else if (scanner->expected == EXPECT_AFTER_KEY)
        scanner->expected = EXPECT_TITLE_END;
    else if (scanner->expected == EXPECT_VALUE)
        scanner->expected = EXPECT_KEY;
}

static bool
count_brace(struct scanner *scanner, char sign)
{
    if (sign == '{' && scanner->depth == DEPTH_MAX)
        return refuse(scanner, scanner->line, "braces nested too deeply");
    if (sign == '{')
        scanner->opened[scanner->depth++] = scanner->line;
    else if (sign == '}' && scanner->depth-- == 0)
        return refuse(scanner, scanner->line, "a closing brace without its opening one");
    return true;
}

static void
expect_after_sign(struct scanner *scanner, char sign)
{
    if (sign == '=')
        scanner->expected = EXPECT_VALUE;
    else if (sign == '{' && scanner->expected == EXPECT_VALUE)
        scanner->expected = EXPECT_IN_LIST;
    else if (sign != ',')
        scanner->expected = EXPECT_KEY;
}

static bool
scan_sign(struct scanner *scanner)
{
    static const char unexpected[] = "an unexpected character: quote the value it belongs to";

    if (begins(scanner, "+="))
        scanner->at++;
    if (*scanner->at == '\0' || strchr("{}=,", *scanner->at) == NULL)
        return refuse(scanner, scanner->line, unexpected);
    if (!count_brace(scanner, *scanner->at))
        return false;
    expect_after_sign(scanner, *scanner->at++);
    return true;
}

static bool
scan_text(struct scanner *scanner)
{
    bool quoted = *scanner->at == '"' || *scanner->at == '\'';

    if (quoted && scanner->expected == EXPECT_KEY)
        return refuse(scanner, scanner->line, "a quoted text where a key belongs");
    if (quoted && !scan_string(scanner))
        return false;
    while (!quoted && scanner->at < scanner->end && is_word_char(*scanner->at))
        scanner->at++;
    expect_after_text(scanner);
    return true;
}

static bool
scan_token(struct scanner *scanner)
{
    char c = *scanner->at;

    if (c == '\n')
        scanner->line++;
    if (c == '\n' || c == ' ' || c == '\t' || c == '\r') {
        scanner->at++;
        return true;
    }
    if (c == '#' || begins(scanner, "//")) {
        blank_line(scanner);
        return true;
    }
    if (begins(scanner, "/*"))
        return blank_comment(scanner);
    if (c == '"' || c == '\'' || is_word_char(c))
        return scan_text(scanner);
    return scan_sign(scanner);
}

bool
settings_scan(char *text, size_t length, struct problem_list *problems)
{
    struct scanner scanner = {
        .at = text, .end = text + length, .line = 1, .expected = EXPECT_KEY, .problems = problems
    };

    while (scanner.at < scanner.end) {
        if (!scan_token(&scanner))
            return false;
    }
    if (scanner.depth > 0)
        return refuse(&scanner, scanner.opened[scanner.depth - 1],
                      "an opening brace without its closing one");
    return true;
}
