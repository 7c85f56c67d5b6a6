/* SPDX-License-Identifier: MIT */
/*
 * The least a FastCGI authorizer can do, with plain libfcgi: what bench/run compares ours with.
 * It answers `Status: 200`, or, with a file named in NOOP_ANSWER, the bytes of that file.
 */
#include <fcgiapp.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/banned.h"

#define ANSWER_SIZE 8192

int
main(void)
{
    static char answer[ANSWER_SIZE] = "Status: 200\r\n\r\n";
    const char *path = getenv("NOOP_ANSWER");
    int length = 15;
    FCGX_Request request;

    if (path != NULL) {
        FILE *file = fopen(path, "rb");

        if (file == NULL)
            return 1;
        length = (int)fread(answer, 1, sizeof(answer), file);
        fclose(file);
    }
    if (FCGX_Init() != 0 || FCGX_InitRequest(&request, 0, 0) != 0)
        return 1;
    while (FCGX_Accept_r(&request) == 0)
        FCGX_PutStr(answer, length, request.out);
    return 0;
}
