#include "storage/space.h"

#include "base/log.h"

#include <criterion/criterion.h>

static struct space space;
static struct err err;

static void begin(void)
{
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    space = (struct space){.dir = "/tmp"};
}

TestSuite(space, .init = begin);

Test(space, there_is_room_for_a_little)
{
    cr_assert_eq(space_ask(&space, 4096, &err), 0, "%s", err.text);
    space_tell(&space, 0);
    cr_assert_not(space_is_full(&space));
    cr_assert_eq(space.refusals, 0);
}

Test(space, keeps_free_what_must_stay_free)
{
    space.free_min = UINT64_MAX / 2;
    cr_assert_eq(space_ask(&space, 4096, &err), ERR_FULL);
    cr_assert(space_is_full(&space));
    cr_assert_eq(space.refusals, 1);
}

Test(space, a_failed_reservation_is_a_full_disk_until_one_succeeds)
{
    space_tell(&space, ERR_FULL);
    cr_assert(space_is_full(&space));
    cr_assert_eq(space_ask(&space, 1, &err), ERR_FULL, "refused without asking the disk, for a moment");
    space.retry_ns = 0; /* the moment is over */
    cr_assert_eq(space_ask(&space, 1, &err), 0);
    cr_assert(space_is_full(&space), "not before a reservation went well");
    space_tell(&space, 0);
    cr_assert_not(space_is_full(&space));
}

Test(space, another_error_says_nothing_about_room)
{
    space_tell(&space, ERR_IO);
    cr_assert_not(space_is_full(&space));
    space_tell(&space, ERR_FULL);
    space_tell(&space, ERR_IO);
    cr_assert(space_is_full(&space));
}

Test(space, counts_how_often_it_became_full)
{
    for (int n = 0; n < 3; n++) {
        space_tell(&space, ERR_FULL);
        space_tell(&space, ERR_FULL);
        space_tell(&space, 0);
    }
    cr_assert_eq(space.refusals, 3);
}

Test(space, a_folder_that_is_not_there_is_an_error)
{
    space.dir = "/nowhere/at/all";
    cr_assert_eq(space_ask(&space, 1, &err), ERR_IO);
}
