/* Servers as child processes, and clients of them. Every call asserts that it worked. */
#ifndef TESTING_E2E_FLEET_H
#define TESTING_E2E_FLEET_H

#include <memkv/memkv.h>

#include <sys/types.h>

#define FLEET_MAX 8

struct fleet {
    int n;
    const char *memory;
    struct {
        pid_t pid; /* 0: not running */
        char address[64];
    } servers[FLEET_MAX];
};

extern const char *fleet_command; /* path of memkv; main sets it */

void fleet_start(struct fleet *fleet, int n, const char *memory);
void fleet_stop(struct fleet *fleet);           /* kills what runs */
void fleet_kill(struct fleet *fleet, int i);    /* -9, and waits for it */
void fleet_restart(struct fleet *fleet, int i); /* empty, where it was */
void fleet_pause(struct fleet *fleet, int i);
void fleet_resume(struct fleet *fleet, int i);

/* A connection of this process, in the order of a random number, breaks. */
void fleet_cut(unsigned long long random);

extern unsigned fleet_rails; /* of clients from now on; 0: as the transport says */
/* A client of the first n servers, named s0, s1, ...; pairs of option and value follow, then NULL. */
struct mkv_client *fleet_client(const struct fleet *fleet, int n, ...);
const char *fleet_list(const struct fleet *fleet, int n); /* static memory */

struct mkv_client_stats fleet_stats(struct mkv_client *client);
/* Until this many servers' breakers are closed; exists is called meanwhile. */
void fleet_until_up(struct mkv_client *client, unsigned n);
int fleet_count(const char *directory); /* its entries */
double fleet_now(void);                 /* seconds */

/* Pages named TAG-0 .. TAG-(n-1), whose bytes follow from the name. */
struct mkv_batch *pages_batch(struct mkv_client *client, enum mkv_op op, const char *tag,
                              unsigned n, unsigned char *memory, size_t page,
                              const struct mkv_batch_options *options);
void pages_fill(const char *tag, unsigned n, unsigned char *memory, size_t page);
/* The leading run of pages that are there, by exists, and by get with every byte compared. */
unsigned pages_exist(struct mkv_client *client, const char *tag, unsigned n);
unsigned pages_read(struct mkv_client *client, const char *tag, unsigned n, size_t page);
unsigned pages_write(struct mkv_client *client, const char *tag, unsigned n, size_t page);

#endif
