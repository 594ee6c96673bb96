/* A step in C: the negative of a picture.
 *
 * It reads one request a line, answers each with a line, and needs no library. Penstock writes requests without spaces
 * between names, colons and values, and its own paths need no escapes: so scanning for what is wanted is enough.
 *
 *     cc -O2 -o invert invert.c
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PATH_BYTES 4096
#define MAX_HEADER_BYTES 65536

static const char DESCRIPTION[] =
    "{\"v\":1,\"step\":\"invert\",\"version\":\"1\",\"params\":{\"type\":\"object\",\"description\":\"The negative of a "
    "picture.\",\"properties\":{},\"additionalProperties\":false}}";

/* Copies the string that begins at `text`; returns what follows it, NULL if there is none or it has escapes. */
static const char *take_string(const char *text, char *path) {
    if (text == NULL || *text++ != '"') return NULL;
    size_t length = strcspn(text, "\"\\");
    if (text[length] != '"' || length >= MAX_PATH_BYTES) return NULL;
    memcpy(path, text, length);
    path[length] = '\0';
    return text + length + 1;
}

static const char *find(const char *line, const char *name) {
    const char *found = strstr(line, name);
    return found == NULL ? NULL : found + strlen(name);
}

/* Copies a safetensors file with every byte after its header turned over. Returns what went wrong, NULL if nothing. */
static const char *invert(const char *from, const char *to) {
    static unsigned char piece[1 << 16];
    unsigned char size[8];
    const char *wrong = "not a safetensors file";
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    if (in == NULL || out == NULL) {
        wrong = "a file cannot be opened";
    } else if (fread(size, 1, 8, in) == 8) {
        uint64_t header = 0;
        for (int i = 7; i >= 0; i--) header = header << 8 | size[i];
        if (header <= MAX_HEADER_BYTES && fread(piece, 1, header, in) == header) {
            fwrite(size, 1, 8, out);
            fwrite(piece, 1, header, out);
            size_t count;
            while ((count = fread(piece, 1, sizeof piece, in)) > 0) {
                for (size_t i = 0; i < count; i++) piece[i] = 255 - piece[i];
                fwrite(piece, 1, count, out);
            }
            wrong = ferror(in) || ferror(out) ? "a file cannot be read or written" : NULL;
        }
    }
    if (in != NULL) fclose(in);
    if (out != NULL && fclose(out) != 0) wrong = "a file cannot be written";
    return wrong;
}

static void refuse(const char *code, const char *message) {
    printf("{\"v\":1,\"ok\":false,\"error\":{\"code\":\"%s\",\"message\":\"%s\",\"retry\":false}}\n", code, message);
}

static void answer(const char *line) {
    char from[MAX_PATH_BYTES], folder[MAX_PATH_BYTES], to[2 * MAX_PATH_BYTES];
    static char results[1 << 20];
    size_t length = 0;
    const char *inputs = find(line, "\"in\":[");
    if (strstr(line, "\"v\":1") == NULL || inputs == NULL || take_string(find(line, "\"out\":"), folder) == NULL) {
        refuse("bad_request", "accepted is a request of version 1 with in and out");
        return;
    }
    for (int number = 0; (inputs = take_string(inputs, from)) != NULL; number++) {
        snprintf(to, sizeof to, "%s/%d", folder, number);
        const char *wrong = invert(from, to);
        if (wrong != NULL) {
            refuse("internal", wrong);
            return;
        }
        length += (size_t)snprintf(results + length, sizeof results - length, "%s\"%s\"", number ? "," : "", to);
        if (length >= sizeof results || *inputs++ != ',') break;
    }
    if (length >= sizeof results) refuse("internal", "too many parts");
    else printf("{\"v\":1,\"ok\":true,\"out\":[%s]}\n", results);
}

int main(void) {
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        if (strstr(line, "\"op\":\"describe\"") != NULL) puts(DESCRIPTION);
        else answer(line);
        fflush(stdout); /* or the answer would wait in this process while Penstock waits for it */
    }
    free(line);
    return 0;
}
