#include "core/config/yaml.h"

#include "core/config/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define KEY_MAX   128u               /* bytes of a key, "group.name" */
#define OPEN_MAX  64u                /* brackets that may be open at once */
#define VALUE_MAX ((size_t)64 << 10) /* bytes of a value, a sequence joined: aliases can repeat */

struct reader {
    const char *name;
    yaml_document_t document;
    mkv__yaml_fn take;
    void *arg;
    char *error;
    char value[VALUE_MAX];
};

static unsigned line_of(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

static int refuse(struct reader *r, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(struct reader *r, unsigned line, const char *format, ...)
{
    int n = snprintf(r->error, MKV_SPAN_ERROR, "%.200s:%u: ", r->name, line);
    va_list args;
    va_start(args, format);
    vsnprintf(r->error + n, MKV_SPAN_ERROR - (size_t)n, format, args);
    va_end(args);
    return -EINVAL;
}

static yaml_node_t *node_of(struct reader *r, int index)
{
    return yaml_document_get_node(&r->document, index);
}

static const char *scalar(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

static bool is_null(const yaml_node_t *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        return false;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(scalar(node), words[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* A scalar that is a C string and not absurdly long. */
static int check_scalar(struct reader *r, const char *key, const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE) {
        return refuse(r, line_of(node), "%s: expected a value or a list of values", key);
    }
    if (strlen(scalar(node)) != node->data.scalar.length) {
        return refuse(r, line_of(node), "%s: holds a zero byte", key);
    }
    if (node->data.scalar.length >= VALUE_MAX) {
        return refuse(r, line_of(node), "%s: longer than %zu bytes", key, VALUE_MAX - 1);
    }
    return 0;
}

/* Joins a sequence of scalars by commas in r->value. */
static int join(struct reader *r, const char *key, const yaml_node_t *node)
{
    size_t len = 0;
    const yaml_node_item_t *top = node->data.sequence.items.top;
    r->value[0] = '\0';
    for (yaml_node_item_t *item = node->data.sequence.items.start; item < top; item++) {
        const yaml_node_t *one = node_of(r, *item);
        int rc = check_scalar(r, key, one);
        if (rc < 0) {
            return rc;
        }
        if (len + one->data.scalar.length + 2 > VALUE_MAX) {
            return refuse(r, line_of(node), "%s: longer than %zu bytes", key, VALUE_MAX - 1);
        }
        len += (size_t)snprintf(r->value + len, VALUE_MAX - len, "%s%s", len > 0 ? "," : "",
                                scalar(one));
    }
    return 0;
}

static int take_value(struct reader *r, unsigned section, unsigned line, const char *key,
                      const yaml_node_t *node)
{
    struct mkv__yaml_entry entry = {section, line, key, r->value};
    int rc;
    if (is_null(node)) {
        return 0;
    }
    if (node->type == YAML_SEQUENCE_NODE) {
        rc = join(r, key, node);
    } else {
        rc = check_scalar(r, key, node);
        entry.value = scalar(node);
    }
    return rc < 0 ? rc : r->take(r->arg, &entry);
}

/* Writes "GROUP.KEY" or "KEY". */
static int take_key(struct reader *r, const char *group, const yaml_node_t *node, char key[KEY_MAX])
{
    if (node->type != YAML_SCALAR_NODE || strlen(scalar(node)) != node->data.scalar.length) {
        return refuse(r, line_of(node), "expected the name of an option");
    }
    int n = snprintf(key, KEY_MAX, "%s%s%s", group, *group ? "." : "", scalar(node));
    if ((size_t)n >= KEY_MAX) {
        return refuse(r, line_of(node), "a name longer than %u bytes", KEY_MAX - 1);
    }
    return 0;
}

static unsigned section_of(const char *key)
{
    return strcmp(key, "client") == 0 ? MKV__CLIENT : strcmp(key, "server") == 0 ? MKV__SERVER : 0;
}

/* The options of a group, "breaker: {failures: 5}". Groups do not nest. */
static int take_group(struct reader *r, unsigned section, const char *group, const yaml_node_t *map)
{
    const yaml_node_pair_t *top = map->data.mapping.pairs.top;
    for (yaml_node_pair_t *pair = map->data.mapping.pairs.start; pair < top; pair++) {
        const yaml_node_t *name = node_of(r, pair->key);
        char key[KEY_MAX];
        int rc = take_key(r, group, name, key);
        if (rc == 0) {
            rc = take_value(r, section, line_of(name), key, node_of(r, pair->value));
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* The options of a mapping, groups included; at the top level the sections are left out. */
static int take_options(struct reader *r, unsigned section, const yaml_node_t *map)
{
    const yaml_node_pair_t *top = map->data.mapping.pairs.top;
    for (yaml_node_pair_t *pair = map->data.mapping.pairs.start; pair < top; pair++) {
        const yaml_node_t *name = node_of(r, pair->key);
        const yaml_node_t *value = node_of(r, pair->value);
        char key[KEY_MAX];
        int rc = take_key(r, "", name, key);
        if (rc == 0 && (section != 0 || section_of(key) == 0)) {
            rc = value->type == YAML_MAPPING_NODE
                     ? take_group(r, section, key, value)
                     : take_value(r, section, line_of(name), key, value);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int take_sections(struct reader *r, const yaml_node_t *root)
{
    const yaml_node_pair_t *top = root->data.mapping.pairs.top;
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < top; pair++) {
        const yaml_node_t *name = node_of(r, pair->key);
        const yaml_node_t *value = node_of(r, pair->value);
        unsigned section = section_of(scalar(name)); /* take_options has seen that it is one */
        if (section == 0 || is_null(value)) {
            continue;
        }
        if (value->type != YAML_MAPPING_NODE) {
            return refuse(r, line_of(value), "%s: expected a mapping of options", scalar(name));
        }
        int rc = take_options(r, section, value);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int take_document(struct reader *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->document);
    if (!root || is_null(root)) {
        return 0;
    }
    if (root->type != YAML_MAPPING_NODE) {
        return refuse(r, line_of(root),
                      "expected a mapping of options, e.g. \"servers: "
                      "10.0.0.10\"");
    }
    int rc = take_options(r, 0, root);
    return rc < 0 ? rc : take_sections(r, root);
}

static int parser_error(struct reader *r, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        return mkv__span_no_memory(r->error);
    }
    return refuse(r, (unsigned)parser->problem_mark.line + 1, "not YAML: %s",
                  parser->problem ? parser->problem : "cannot be read");
}

/* Nothing but the end may follow the document. */
static int check_end(struct reader *r, yaml_parser_t *parser)
{
    yaml_document_t second;
    if (!yaml_parser_load(parser, &second)) {
        return parser_error(r, parser);
    }
    const yaml_node_t *root = yaml_document_get_root_node(&second);
    int rc = root ? refuse(r, line_of(root), "expected one document, here begins a second") : 0;
    yaml_document_delete(&second);
    return rc;
}

static int read_document(struct reader *r, yaml_parser_t *parser)
{
    if (!yaml_parser_load(parser, &r->document)) {
        return parser_error(r, parser);
    }
    int rc = yaml_document_get_root_node(&r->document) ? check_end(r, parser) : 0;
    if (rc == 0) {
        rc = take_document(r);
    }
    yaml_document_delete(&r->document);
    return rc;
}

/* libyaml's time grows with the square of the brackets that are open: a file of nothing else would
 * keep it busy for minutes. Comments do not count. */
static int check_brackets(struct reader *r, const char *text, size_t len)
{
    unsigned line = 1, open = 0;
    bool comment = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        line += c == '\n';
        comment = c == '#' || (comment && c != '\n');
        if (!comment && (c == '[' || c == '{') && ++open > OPEN_MAX) {
            return refuse(r, line, "more than %u open brackets", OPEN_MAX);
        }
        open -= !comment && (c == ']' || c == '}') && open > 0;
    }
    return 0;
}

int mkv__yaml_read(const char *name, const char *text, size_t len, mkv__yaml_fn take, void *arg,
                   char error_out[MKV_SPAN_ERROR])
{
    yaml_parser_t parser;
    struct reader *r = calloc(1, sizeof(*r));
    if (!r || !yaml_parser_initialize(&parser)) {
        free(r);
        return mkv__span_no_memory(error_out);
    }
    r->name = name;
    r->take = take;
    r->arg = arg;
    r->error = error_out;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    int rc = check_brackets(r, text, len);
    rc = rc < 0 ? rc : read_document(r, &parser);
    yaml_parser_delete(&parser);
    free(r);
    return rc;
}
