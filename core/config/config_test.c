/* The chain of sources, and keys. */
#include "core/config/config.h"
#include "core/config/test_run.h"

#define KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_B "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define MS    UINT64_C(1000000)

static void test_defaults(void **state)
{
    (void)state;
    struct run r = {0};
    size_t n = 1;
    good(&r);
    assert_int_equal(mkv__config_size(r.config, MKV_OPT_MEMORY), UINT64_C(1) << 30);
    assert_int_equal(mkv__config_duration(r.config, MKV_OPT_LEASE), 10000 * MS);
    assert_int_equal(mkv__config_count(r.config, MKV_OPT_WORKERS), 1);
    assert_true(mkv__config_bool(r.config, MKV_OPT_CHECKSUM));
    assert_int_equal(mkv__config_choice(r.config, MKV_OPT_TRANSPORT), MKV__TRANSPORT_AUTO);
    assert_int_equal(mkv__config_choice(r.config, MKV_OPT_ADMIN), MKV__ADMIN_LOOPBACK);
    assert_string_equal(mkv__config_string(r.config, MKV_OPT_NAMESPACE), "default");
    assert_null(mkv__config_string(r.config, MKV_OPT_AUTH_KEY_FILE));
    assert_string_equal(mkv__config_address(r.config, MKV_OPT_LISTEN)->host, "127.0.0.1");
    assert_null(mkv__config_list(r.config, MKV_OPT_RDMA_DEVICES, &n));
    assert_int_equal(n, 0);
    assert_null(mkv__config_string(r.config, MKV_OPT_WORKERS_CPUS));
    assert_null(mkv__config_cpus(r.config, MKV_OPT_WORKERS_CPUS, &n));
    assert_null(mkv__config_servers(r.config));
    assert_null(mkv__config_keys(r.config, &n));
    assert_int_equal(n, 0);
    for (enum mkv__option_id id = 0; id < MKV_OPT_COUNT; id++) {
        assert_int_equal(mkv__config_is_set(r.config, id), mkv__option_get(id)->value != NULL);
        assert_int_equal(mkv__config_origin_kind(r.config, id), MKV__ORIGIN_DEFAULT);
        assert_string_equal(mkv__config_origin(r.config, id), "default");
    }
    check_warnings(&r, 0, NULL);
    mkv__config_destroy(&r.config);
    mkv__config_destroy(&r.config); /* takes NULL */
}

/* Every source wins over the one before it, and says where a value came from. */
static void test_chain(void **state)
{
    (void)state;
    file("get_timeout: 1s\n"
         "set_timeout: 1s\n"
         "exists_timeout: 100ms\n"
         "servers: a=10.0.0.1\n");
    char *environ_[] = {"PATH=/bin", "MEMKV_CONFIG=memkv.yaml", "MEMKV_SET_TIMEOUT=2500ms",
                        "MEMKV_EXISTS_TIMEOUT=110ms", NULL};
    const struct mkv__config_arg args[] = {{"exists_timeout", "120ms", NULL},
                                           {"lanes", "3", "--lanes"},
                                           {"servers", "b=10.0.0.2", NULL},
                                           {"fail_open", "off", "extra config"}};
    struct run r = {.components = MKV__CLIENT, .environ_ = environ_, .args = args, .n_args = 4};
    good(&r);
    check_origin(&r, MKV_OPT_CONNECT_TIMEOUT, "500ms", "default");
    check_origin(&r, MKV_OPT_GET_TIMEOUT, "1s", "memkv.yaml:1");
    check_origin(&r, MKV_OPT_SET_TIMEOUT, "2500ms", "env MEMKV_SET_TIMEOUT");
    check_origin(&r, MKV_OPT_EXISTS_TIMEOUT, "120ms", "argument");
    check_origin(&r, MKV_OPT_LANES, "3", "--lanes");
    check_origin(&r, MKV_OPT_FAIL_OPEN, "false", "extra config");
    check_origin(&r, MKV_OPT_SERVERS, "b=10.0.0.2:9900", "argument");
    assert_int_equal(mkv__config_origin_kind(r.config, MKV_OPT_GET_TIMEOUT), MKV__ORIGIN_FILE);
    assert_int_equal(mkv__config_origin_kind(r.config, MKV_OPT_SET_TIMEOUT),
                     MKV__ORIGIN_ENVIRONMENT);
    assert_int_equal(mkv__config_origin_kind(r.config, MKV_OPT_FAIL_OPEN), MKV__ORIGIN_ARGUMENT);
    assert_int_equal(mkv__config_duration(r.config, MKV_OPT_SET_TIMEOUT), 2500 * MS);
    assert_int_equal(mkv__config_servers(r.config)->n, 1);
    check_warnings(&r, 0, NULL);
    mkv__config_destroy(&r.config);
}

static void test_a_named_file_wins_over_the_variable(void **state)
{
    (void)state;
    file("workers: 3\n");
    char *environ_[] = {"MEMKV_CONFIG=/nowhere", NULL};
    struct run r = {.file = "memkv.yaml", .environ_ = environ_};
    good(&r);
    check_origin(&r, MKV_OPT_WORKERS, "3", "memkv.yaml:1");
    mkv__config_destroy(&r.config);
}

static void test_no_environment_no_file(void **state)
{
    (void)state;
    struct run r = {.environ_ = NULL};
    setenv("MEMKV_WORKERS", "7", 1);
    setenv("MEMKV_CONFIG", "/nowhere", 1);
    good(&r);
    check_origin(&r, MKV_OPT_WORKERS, "1", "default");
    mkv__config_destroy(&r.config);
    unsetenv("MEMKV_WORKERS");
    unsetenv("MEMKV_CONFIG");
}

static void test_client_needs_servers(void **state)
{
    (void)state;
    struct run r = {.components = MKV__CLIENT};
    refused(&r, "no servers: set MEMKV_SERVERS, \"servers\" in the configuration file, or the "
                "argument (e.g. MEMKV_SERVERS=10.0.0.10:9900)");
    r.components = MKV__CLIENT | MKV__PARTIAL;
    good(&r);
    mkv__config_destroy(&r.config);
}

static void test_bad_values_name_their_source(void **state)
{
    (void)state;
    char *environ_[] = {"MEMKV_LEASE=2 parsecs", NULL};
    struct mkv__config_arg arg = {"Max-Value", "1X", NULL};
    struct run r = {.environ_ = environ_};
    refused(&r, "MEMKV_LEASE: \"2 parsecs\" is not a duration (expected e.g. 250ms, 2s)");
    r = (struct run){.args = &arg, .n_args = 1};
    refused(&r, "argument max_value: \"1X\" is not a size (expected e.g. 64K, 1MiB, 1.5G)");
    arg.source = "--max-value";
    refused(&r, "--max-value: \"1X\" is not a size (expected e.g. 64K, 1MiB, 1.5G)");
    arg.source = "extra config";
    refused(&r, "extra config: max_value: \"1X\" is not a size (expected e.g. 64K, 1MiB, 1.5G)");
    file("workers: 2\n\nlease: 2 parsecs\n");
    r = (struct run){.file = "memkv.yaml"};
    refused(&r, "memkv.yaml:3: lease: \"2 parsecs\" is not a duration (expected e.g. 250ms, 2s)");
    file("server:\n  listen: 0.0.0.0:70000\n");
    refused(&r, "memkv.yaml:2: listen: \"0.0.0.0:70000\" has no valid port (expected 0 to 65535)");
}

static void test_unknown_names_warn(void **state)
{
    (void)state;
    file("memroy: 1G\nfoo: 1\nclient: {get_timout: 1s}\n");
    char *environ_[] = {"MEMKV_LEASES=1s",
                        "MEMKV_WHATEVER=1",
                        "MEMKV_PORT_9900_TCP=x",
                        "MEMKV_PORT=tcp://10.0.0.1:9900",
                        "MEMKV_SERVICE_HOST=10.0.0.1",
                        "MEMKV_=",
                        "MEMKVX=1",
                        "MEMKV",
                        NULL};
    const struct mkv__config_arg args[] = {{"lanez", "1", NULL},
                                           {"prefetch_threshold", "256", "extra config"}};
    static const char *const expected[] = {
        "memkv.yaml:1: unknown option \"memroy\", did you mean \"memory\"?",
        "memkv.yaml:2: unknown option \"foo\" is ignored",
        "memkv.yaml:3: unknown option \"get_timout\", did you mean \"get_timeout\"?",
        "MEMKV_LEASES: unknown option, did you mean MEMKV_LEASE?",
        "MEMKV_WHATEVER: unknown option is ignored",
        "MEMKV_: unknown option is ignored",
        "argument: unknown option \"lanez\", did you mean \"lanes\"?",
        "extra config: unknown option \"prefetch_threshold\" is ignored",
    };
    struct run r = {.file = "memkv.yaml", .environ_ = environ_, .args = args, .n_args = 2};
    good(&r);
    check_warnings(&r, sizeof(expected) / sizeof(expected[0]), expected);
    mkv__config_destroy(&r.config);
}

static void test_options_of_the_other_side(void **state)
{
    (void)state;
    static const char *const expected[] = {
        "memkv.yaml:1: memory is an option of the server and is ignored here",
        "argument: memory is an option of the server and is ignored here",
    };
    const struct mkv__config_arg arg = {"memory", "1X", NULL};
    char *environ_[] = {"MEMKV_MEMORY=1X", NULL}; /* shared with a server: says nothing */
    file("client: {memory: 1G}\n");
    struct run r = {.components = MKV__CLIENT | MKV__PARTIAL,
                    .file = "memkv.yaml",
                    .environ_ = environ_,
                    .args = &arg,
                    .n_args = 1};
    good(&r);
    check_warnings(&r, 2, expected);
    check_origin(&r, MKV_OPT_MEMORY, "1G", "default");
    mkv__config_destroy(&r.config);
}

static void test_empty_variables_are_not_set(void **state)
{
    (void)state;
    char *environ_[] = {"MEMKV_AUTH_KEY=", "MEMKV_WORKERS=", "MEMKV_CONFIG=", NULL};
    struct run r = {.environ_ = environ_};
    good(&r);
    check_origin(&r, MKV_OPT_WORKERS, "1", "default");
    assert_false(mkv__config_is_set(r.config, MKV_OPT_AUTH_KEY));
    mkv__config_destroy(&r.config);
}

static void test_what_is_wrong_only_together(void **state)
{
    (void)state;
    char *environ_[] = {"MEMKV_BREAKER_PROBE=20s", "MEMKV_SERVERS=a", NULL};
    struct run r = {.components = MKV__CLIENT, .environ_ = environ_};
    refused(&r, "breaker.probe (env MEMKV_BREAKER_PROBE) is longer than breaker.probe_max "
                "(default)");
    static const char *const expected[] = {
        "workers.cpus (env MEMKV_WORKERS_CPUS): fewer CPUs than workers",
        "checksum (env MEMKV_CHECKSUM): off, a damaged value would not be noticed",
    };
    char *odd[] = {"MEMKV_WORKERS=3", "MEMKV_WORKERS_CPUS=0,1", "MEMKV_CHECKSUM=off", NULL};
    r = (struct run){.environ_ = odd};
    good(&r);
    check_warnings(&r, 2, expected);
    mkv__config_destroy(&r.config);
}

static void test_loads_once(void **state)
{
    (void)state;
    struct run r = {0};
    good(&r);
    assert_int_equal(mkv__config_load(r.config, MKV__SERVER, NULL, NULL, NULL, 0, &r.error),
                     -EINVAL);
    assert_int_equal(mkv__config_load(r.config, MKV__SERVER, NULL, NULL, NULL, 0, NULL), -EINVAL);
    mkv__config_destroy(&r.config);
}

static void write_text(const char *name, const char *text, mode_t mode)
{
    assert_int_equal(test_files_write(name, text, strlen(text), mode), 0);
}

static void test_keys(void **state)
{
    (void)state;
    char *environ_[] = {"MEMKV_AUTH_KEY=" KEY_A, "MEMKV_AUTH_KEY_ID=7", "MEMKV_AUTH_KEYS_FILE=keys",
                        NULL};
    struct run r = {.environ_ = environ_};
    size_t n;
    write_text("keys", "8 " KEY_B " team-a/\n", 0600);
    good(&r);
    check_origin(&r, MKV_OPT_AUTH_KEY, "fingerprint 630dcd29", "env MEMKV_AUTH_KEY");
    const struct mkv__auth_key *keys = mkv__config_keys(r.config, &n);
    assert_int_equal(n, 2);
    assert_int_equal(keys[0].id, 7);
    assert_int_equal(keys[0].key[31], 31);
    assert_null(keys[0].namespaces);
    assert_int_equal(keys[1].id, 8);
    assert_string_equal(keys[1].namespaces, "team-a/");
    check_warnings(&r, 0, NULL);
    mkv__config_destroy(&r.config);
    write_text("keys", "7 " KEY_B "\n", 0600);
    refused(&r, "auth_keys_file (env MEMKV_AUTH_KEYS_FILE): keys:1: key id 7 is given twice");
    write_text("keys", "# none yet\n", 0600);
    good(&r); /* beside auth_key */
    mkv__config_destroy(&r.config);
    r.environ_ = &environ_[2];
    refused(&r, "auth_keys_file (env MEMKV_AUTH_KEYS_FILE): keys: no key in it (expected lines ID "
                "KEY [PREFIX])");
}

static void test_key_file(void **state)
{
    (void)state;
    char *environ_[] = {"MEMKV_AUTH_KEY_FILE=key", NULL};
    struct run r = {.environ_ = environ_};
    size_t n;
    write_text("key", KEY_B "\n", 0644);
    good(&r);
    static const char *const warning = "key: a key that every user of this host may read (chmod "
                                       "600)";
    check_warnings(&r, 1, &warning);
    check_origin(&r, MKV_OPT_AUTH_KEY, "fingerprint af961376", "file key");
    check_origin(&r, MKV_OPT_AUTH_KEY_FILE, "key", "env MEMKV_AUTH_KEY_FILE");
    assert_int_equal(mkv__config_keys(r.config, &n)[0].key[0], 0xff);
    assert_int_equal(n, 1);
    mkv__config_destroy(&r.config);
    write_text("key", "abc\n", 0600);
    refused(&r, "auth_key_file (env MEMKV_AUTH_KEY_FILE): key: not a key (expected 64 hex digits, "
                "got 3 characters)");
    unlink("key");
    refused(&r, "auth_key_file (env MEMKV_AUTH_KEY_FILE): key: No such file or directory");
}

/* Of key and key file the source that ranks higher decides. */
static void test_key_and_key_file(void **state)
{
    (void)state;
    char *environ_[] = {"MEMKV_AUTH_KEY_FILE=key", NULL};
    const struct mkv__config_arg arg = {"auth_key", KEY_A, NULL};
    struct run r = {.environ_ = environ_, .args = &arg, .n_args = 1};
    size_t n;
    write_text("key", KEY_B "\n", 0600);
    good(&r);
    assert_int_equal(mkv__config_keys(r.config, &n)[0].key[0], 0);
    assert_int_equal(n, 1);
    assert_false(mkv__config_is_set(r.config, MKV_OPT_AUTH_KEY_FILE));
    mkv__config_destroy(&r.config);

    char *swapped[] = {"MEMKV_AUTH_KEY=" KEY_A, NULL};
    const struct mkv__config_arg file_arg = {"auth_key_file", "key", NULL};
    r = (struct run){.environ_ = swapped, .args = &file_arg, .n_args = 1};
    good(&r);
    assert_int_equal(mkv__config_keys(r.config, &n)[0].key[0], 0xff);
    assert_int_equal(n, 1);
    mkv__config_destroy(&r.config);

    char *both[] = {"MEMKV_AUTH_KEY=" KEY_A, "MEMKV_AUTH_KEY_FILE=key", NULL};
    r = (struct run){.environ_ = both};
    refused(&r, "auth_key (env MEMKV_AUTH_KEY) and auth_key_file (env MEMKV_AUTH_KEY_FILE): give "
                "one of the two");
}

static void test_secrets_where_others_see_them(void **state)
{
    (void)state;
    struct mkv__config_arg arg = {"auth_key", KEY_A, "--auth-key"};
    struct run r = {.args = &arg, .n_args = 1};
    static const char *const shown = "--auth-key: a key among the arguments of a command can be "
                                     "seen by every user of this host; better MEMKV_AUTH_KEY or "
                                     "auth_key_file";
    good(&r);
    check_warnings(&r, 1, &shown);
    mkv__config_destroy(&r.config);
    write_text("memkv.yaml", "auth_key: " KEY_A "\n", 0644);
    r = (struct run){.file = "memkv.yaml"};
    static const char *const readable = "memkv.yaml: holds a key and may be read by every user of "
                                        "this host (chmod 600)";
    good(&r);
    check_warnings(&r, 1, &readable);
    mkv__config_destroy(&r.config);
}

/* No text that is printed anywhere has a key in it. */
static void test_secrets_are_never_printed(void **state)
{
    (void)state;
    struct mkv__config_arg arg = {"auth_key", KEY_A "0", NULL};
    struct run r = {.args = &arg, .n_args = 1};
    refused(&r, "argument auth_key: not a key (expected 64 hex digits, got 65 characters)");
    file("auth_key: " KEY_B "g\n");
    r = (struct run){.file = "memkv.yaml"};
    refused(&r, "memkv.yaml:1: auth_key: not a key (expected 64 hex digits, got 65 characters)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_a_named_file_wins_over_the_variable),
        cmocka_unit_test(test_no_environment_no_file),
        cmocka_unit_test(test_client_needs_servers),
        cmocka_unit_test(test_bad_values_name_their_source),
        cmocka_unit_test(test_unknown_names_warn),
        cmocka_unit_test(test_options_of_the_other_side),
        cmocka_unit_test(test_empty_variables_are_not_set),
        cmocka_unit_test(test_what_is_wrong_only_together),
        cmocka_unit_test(test_loads_once),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_key_file),
        cmocka_unit_test(test_key_and_key_file),
        cmocka_unit_test(test_secrets_where_others_see_them),
        cmocka_unit_test(test_secrets_are_never_printed),
    };
    return test_files_enter() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
