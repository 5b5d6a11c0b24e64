/* The YAML file. */
#include "core/config/test_run.h"

static void test_number_of_warnings_is_bounded(void **state)
{
    (void)state;
    char text[300 * 12], *end = text;
    for (int i = 0; i < 300; i++) {
        end += snprintf(end, 12, "zz%d: 1\n", i);
    }
    file(text);
    struct run r = {.file = "memkv.yaml"};
    good(&r);
    assert_int_equal(mkv__config_n_warnings(r.config), 100);
    mkv__config_destroy(&r.config);
}

/* One file for both sides: each takes what is its own, and a wrong value of the other's is none of
 * its business. */
static void test_sections(void **state)
{
    (void)state;
    file("lanes: 2\n"
         "memory: nonsense of the server's\n"
         "client:\n"
         "  lanes: 4\n"
         "  servers: [a, b]\n"
         "server: {lanes: 5, workers: 2}\n");
    struct run r = {.components = MKV__CLIENT, .file = "memkv.yaml"};
    good(&r);
    check_origin(&r, MKV_OPT_LANES, "4", "memkv.yaml:4");
    check_origin(&r, MKV_OPT_WORKERS, "1", "default");
    check_origin(&r, MKV_OPT_SERVERS, "a:9900,b:9900", "memkv.yaml:5");
    check_warnings(&r, 0, NULL);
    mkv__config_destroy(&r.config);

    r.components = MKV__SERVER;
    refused(&r, "memkv.yaml:2: memory: \"nonsense of the server's\" is not a size (expected e.g. "
                "64K, 1MiB, 1.5G)");
    file("server: {lanes: 5, workers: 2}\nlanes: 2\nclient: ~\n"); /* the order does not matter */
    good(&r);
    check_origin(&r, MKV_OPT_LANES, "5", "memkv.yaml:1");
    mkv__config_destroy(&r.config);
}

static void test_every_section_is_read(void **state)
{
    (void)state;
    struct run r = {.components = MKV__CLIENT | MKV__SERVER, .file = "memkv.yaml"};
    file("client: {servers: a}\nserver: {memory: 2M}\n");
    good(&r);
    check_origin(&r, MKV_OPT_SERVERS, "a:9900", "memkv.yaml:1");
    check_origin(&r, MKV_OPT_MEMORY, "2M", "memkv.yaml:2");
    mkv__config_destroy(&r.config);
}

/* Texts are bounded, however long the names in them are. */
static void test_long_paths(void **state)
{
    (void)state;
    char path[600] = "", text[900];
    for (int i = 0; i < 290; i++) {
        memcpy(path + 2 * i, "./", 3);
    }
    memcpy(path + 580, "memkv.yaml", 11);
    snprintf(text, sizeof(text), "client:\n  breaker:\n    failures: %0600d x\n", 1);
    file(text);
    struct run r = {.components = MKV__CLIENT, .file = path};
    assert_int_equal(run(&r), -EINVAL);
    assert_memory_equal(r.error.text, "././", 4);
    assert_non_null(strstr(r.error.text, ":3: breaker.failures: \"000"));
    mkv__config_destroy(&r.config);
    snprintf(text, sizeof(text), "%0100d: 1\n", 1);
    file(text);
    r.components = MKV__SERVER;
    good(&r);
    assert_int_equal(mkv__config_n_warnings(r.config), 1);
    mkv__config_destroy(&r.config);
    file("a: [1");
    assert_int_equal(run(&r), -EINVAL);
    assert_non_null(strstr(r.error.text, "not YAML: did not find"));
    mkv__config_destroy(&r.config);
}

static void test_yaml_shapes(void **state)
{
    (void)state;
    file("# a comment\n"
         "\"log_level\": 'debug'\n"
         "breaker:\n"
         "  failures: 5\n"
         "  probe-max: 20s\n"
         "workers.cpus: [0, 2-3]\n"
         "workers: 3\n"
         "rdma_devices:\n"
         "- &x mlx5_0\n"
         "- mlx5_1\n"
         "namespace: *x\n"
         "lanes: ~\n"
         "spin: null\n"
         "checksum: !!bool \"true\"\n"
         "servers: |\n"
         "  a=10.0.0.1\n"
         "  b=10.0.0.2\n");
    struct run r = {.components = MKV__CLIENT | MKV__SERVER, .file = "memkv.yaml"};
    size_t n;
    good(&r);
    check_origin(&r, MKV_OPT_LOG_LEVEL, "debug", "memkv.yaml:2");
    check_origin(&r, MKV_OPT_BREAKER_FAILURES, "5", "memkv.yaml:4");
    check_origin(&r, MKV_OPT_BREAKER_PROBE_MAX, "20s", "memkv.yaml:5");
    check_origin(&r, MKV_OPT_WORKERS_CPUS, "0,2-3", "memkv.yaml:6");
    check_origin(&r, MKV_OPT_WORKERS, "3", "memkv.yaml:7");
    check_origin(&r, MKV_OPT_RDMA_DEVICES, "mlx5_0,mlx5_1", "memkv.yaml:8");
    check_origin(&r, MKV_OPT_NAMESPACE, "mlx5_0", "memkv.yaml:11");
    check_origin(&r, MKV_OPT_LANES, "2", "default");
    check_origin(&r, MKV_OPT_SERVERS, "a=10.0.0.1:9900,b=10.0.0.2:9900", "memkv.yaml:15");
    assert_string_equal(mkv__config_list(r.config, MKV_OPT_RDMA_DEVICES, &n)[1], "mlx5_1");
    assert_int_equal(n, 2);
    assert_int_equal(mkv__config_cpus(r.config, MKV_OPT_WORKERS_CPUS, &n)[2], 3);
    assert_int_equal(n, 3);
    assert_string_equal(mkv__config_string(r.config, MKV_OPT_WORKERS_CPUS), "0,2-3");
    check_warnings(&r, 0, NULL);
    mkv__config_destroy(&r.config);
}

static void test_files_of_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "# nothing\n", "---\n", "--- ~\n...\n", "{}\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct run r = {.file = "memkv.yaml"};
        file(texts[i]);
        good(&r);
        check_warnings(&r, 0, NULL);
        mkv__config_destroy(&r.config);
    }
}

static void check_bad_file(const char *text, const char *expected)
{
    struct run r = {.file = "memkv.yaml"};
    file(text);
    refused(&r, expected);
}

static void test_bad_files(void **state)
{
    (void)state;
    check_bad_file("workers: 1\nlanes: 2\nworkers: 2\n",
                   "memkv.yaml:3: workers: given twice (first on line 1)");
    check_bad_file("workers_cpus: 1\nworkers.cpus: 2\n",
                   "memkv.yaml:2: workers.cpus: given twice (first on line 1)");
    check_bad_file("workers: 1: 2\n",
                   "memkv.yaml:1: not YAML: mapping values are not allowed in this context");
    check_bad_file("a: [1\n", "memkv.yaml:2: not YAML: did not find expected ',' or ']'");
    check_bad_file("\tworkers: 1\n",
                   "memkv.yaml:1: not YAML: found character that cannot start any token");
    check_bad_file("a: *nowhere\n", "memkv.yaml:1: not YAML: found undefined alias");
    check_bad_file("a: \xff\n", "memkv.yaml:1: not YAML: invalid leading UTF-8 octet");
    check_bad_file("- workers\n",
                   "memkv.yaml:1: expected a mapping of options, e.g. \"servers: 10.0.0.10\"");
    check_bad_file("workers=1\n",
                   "memkv.yaml:1: expected a mapping of options, e.g. \"servers: 10.0.0.10\"");
    check_bad_file("[a]: 1\n", "memkv.yaml:1: expected the name of an option");
    check_bad_file("\"a\\0b\": 1\n", "memkv.yaml:1: expected the name of an option");
    check_bad_file("a: \"b\\0c\"\n", "memkv.yaml:1: a: holds a zero byte");
    check_bad_file("lanes:\n  - {x: 1}\n",
                   "memkv.yaml:2: lanes: expected a value or a list of values");
    check_bad_file("breaker: {probe: {x: 1}}\n",
                   "memkv.yaml:1: breaker.probe: expected a value or a list of values");
    check_bad_file("server: 5\n", "memkv.yaml:1: server: expected a mapping of options");
    check_bad_file("workers: 1\n---\nworkers: 2\n",
                   "memkv.yaml:3: expected one document, here begins a second");
    check_bad_file("lanes: [1, 2]\n", "memkv.yaml:1: lanes: \"1,2\" is not a number (expected e.g. "
                                      "4)");
}

static void test_unreadable_files(void **state)
{
    (void)state;
    struct run r = {.file = "nowhere.yaml"};
    refused(&r, "configuration file nowhere.yaml: No such file or directory");
    r.file = ".";
    refused(&r, "configuration file .: is not a regular file");
    char *text = malloc((1 << 20) + 1);
    assert_non_null(text);
    memset(text, '#', (1 << 20) + 1);
    assert_int_equal(test_files_write("memkv.yaml", text, (1 << 20) + 1, 0600), 0);
    free(text);
    r.file = "memkv.yaml";
    refused(&r, "configuration file memkv.yaml: is too large");
    assert_int_equal(test_files_write("memkv.yaml", "a: 1\0", 5, 0600), 0);
    refused(&r, "configuration file memkv.yaml: is not a text (it holds a zero byte)");
}

/* Would take libyaml minutes. */
static void test_brackets_that_nobody_closes(void **state)
{
    (void)state;
    struct run r = {.file = "memkv.yaml"};
    char *text = malloc(1 << 20);
    assert_non_null(text);
    memset(text, '[', 1 << 20);
    memcpy(text, "# [\nlanes: ", 11);
    assert_int_equal(test_files_write("memkv.yaml", text, 1 << 20, 0600), 0);
    free(text);
    refused(&r, "memkv.yaml:2: more than 64 open brackets");
}

/* A few lines of aliases must not become gigabytes. */
static void test_aliases_do_not_explode(void **state)
{
    (void)state;
    char *text = malloc(80000), *end = text;
    assert_non_null(text);
    end += snprintf(end, 80000, "a: &x %040000d\nservers: [", 1);
    for (int i = 0; i < 1000; i++) {
        end += snprintf(end, 8, "*x, ");
    }
    snprintf(end, 8, "b]\n");
    file(text);
    free(text);
    struct run r = {.components = MKV__CLIENT, .file = "memkv.yaml"};
    refused(&r, "memkv.yaml:2: servers: longer than 65535 bytes");
    file("&top a: *top\nb: &b [*b]\nbreaker: &c {probe: *c}\n"); /* loops */
    assert_int_equal(run(&r), -EINVAL);
    mkv__config_destroy(&r.config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number_of_warnings_is_bounded),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_every_section_is_read),
        cmocka_unit_test(test_long_paths),
        cmocka_unit_test(test_yaml_shapes),
        cmocka_unit_test(test_files_of_nothing),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_unreadable_files),
        cmocka_unit_test(test_brackets_that_nobody_closes),
        cmocka_unit_test(test_aliases_do_not_explode),
    };
    return test_files_enter() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
