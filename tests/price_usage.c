/* SPDX-License-Identifier: MIT */
/*
 * Prices usages for tests/pricing_exact.pl: one JSON object {"service_tier","rates","usage"} per
 * line in, one line out, the cost in nano-dollars or "error <status>".
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/pricing.h"
#include "common/usage.h"

#include "common/banned.h"

static enum status
price_line(const char *line, size_t length, int64_t *nanos, struct error *err)
{
    struct json *root = NULL;
    struct price price;
    struct usage usage;
    enum status status = json_parse(line, length, &root, err);

    if (status == STATUS_OK)
        status = price_parse(json_member(root, "rates"), &price, err);
    if (status == STATUS_OK)
        status = usage_parse(json_member(root, "usage"),
                             json_string(json_member(root, "service_tier")), &usage, err);
    if (status == STATUS_OK)
        status = usage_cost(&usage, &price, nanos, err);
    json_free(root);
    return status;
}

int
main(void)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t length;

    while ((length = getline(&line, &size, stdin)) > 0) {
        struct error err;
        int64_t nanos = 0;
        enum status status = price_line(line, (size_t)length, &nanos, &err);

        if (status == STATUS_OK)
            printf("%" PRId64 "\n", nanos);
        else
            printf("error %s\n", status_name(status));
    }
    free(line);
    return 0;
}
