#include "testing/conformance/suite.h"

#include "testing/conformance/cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

int mkv__conformance(const struct mkv__subject *s)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_and_closes),
        cmocka_unit_test(works_without_keys),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(wrong_keys),
        cmocka_unit_test(keys_change_at_every_turn),
        cmocka_unit_test(listens_on_any_port),
        cmocka_unit_test(echoes),
        cmocka_unit_test(full_then_writable),
        cmocka_unit_test(full_then_writable_at_the_server),
        cmocka_unit_test(unsent_is_told),
        cmocka_unit_test(slow_handshake),
        cmocka_unit_test(gets),
        cmocka_unit_test(sets),
        cmocka_unit_test(sets_with_sums),
        cmocka_unit_test(gets_with_the_reply_behind),
        cmocka_unit_test(nothing_to_move),
        cmocka_unit_test(gaps_stay),
        cmocka_unit_test(limits_of_pieces),
        cmocka_unit_test(limits_of_length),
        cmocka_unit_test(conceal_during_get),
        cmocka_unit_test(conceal_during_set),
        cmocka_unit_test(aborts),
        cmocka_unit_test(fences_at_every_turn),
        cmocka_unit_test(fences_of_answered_gets_at_every_turn),
        cmocka_unit_test(death_in_bulk),
        cmocka_unit_test(close_in_callbacks),
        cmocka_unit_test(endpoint_close_in_callback),
        cmocka_unit_test(writable_closes),
        cmocka_unit_test(thousand_cycles),
    };

    case_subject = s;
    if (getenv("MKV_ONLY")) {
        cmocka_set_test_filter(getenv("MKV_ONLY")); /* one case, "*" is any text */
    }
    return cmocka_run_group_tests_name(s->transport->name, tests, NULL, NULL);
}
