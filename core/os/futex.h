/* Sleep on a word, wake who sleeps on it (Linux: futex). */
#ifndef CORE_OS_FUTEX_H
#define CORE_OS_FUTEX_H

#include <stdint.h>

/* Sleeps while *word == value; may return early. */
void mkv__futex_wait(uint32_t *word, uint32_t value);
void mkv__futex_wake_all(uint32_t *word);

#endif
