/* What the roles of a rank share in an on-policy run: their messages, the end of the run, and the
 * account of their time. */
#ifndef ROLE_WORK_IMPL_H
#define ROLE_WORK_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/par/post.h"
#include "ald/role/roles.h"

/* A role's time for one step, seconds, and the tokens that it sampled or scored (trainers: 0, as
 * the metric `tokens` has theirs). */
typedef struct {
    double work, wait, tokens;
} ald_shift_t;

typedef struct {
    ald_roles_t *roles;
    int64_t steps, begin, kept; /* all; the first that this run takes; the first whose batch is to
                                   be made, as those before are there */
    int64_t *order;             /* [rows] scratch for draws; owned */
    ald_post_t post;
    bool ended;   /* the run is over: what a role has begun is for nothing */
    bool told;    /* rank 0 knows of a signal to this rank, or needn't */
    bool stopped; /* rank 0: a signal came to another rank */
    double idle;  /* seconds without work since a role last took them (ald_work_idle) */
} ald_work_t;

/* RESOURCE without memory. Local; `end` must follow also then. */
ald_status_t ald_work_init(ald_roles_t *roles, ald_work_t *out);
/* Ends all messages. Collective over the world. */
void ald_work_end(ald_work_t *work);
/* Looks after messages, those of the end first: the failure of another rank becomes this rank's.
 * Local. */
ald_status_t ald_work_look(ald_work_t *work);
/* Tells the other ranks that the run is over: that it failed here, or from rank 0 how the trainers
 * ended it. Local. */
void ald_work_tell(ald_work_t *work, ald_status_t status);
/* The version of the policy that a step is sampled from: the number of steps that it has taken. */
int64_t ald_work_version(const ald_work_t *work, int64_t step);
/* The seconds without work since the last call, which a role counts as its wait. */
double ald_work_idle(ald_work_t *work);
/* Sums of times and tokens, and the longest of each time. */
void ald_shift_join(ald_shift_t *longest, const ald_shift_t *other);

#endif
