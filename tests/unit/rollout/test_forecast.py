"""Facts about how long a canary is expected to take."""

import math
from dataclasses import replace

import pytest

from core.settings import CanarySettings
from rollout.forecast import Expected, Traffic, expected_length
from rollout.workflow import forecast

SETTINGS = CanarySettings(share=0.5, min_minutes=0)
TRAFFIC = Traffic(users_per_day=1000, requests_per_user=1, rate_mean=1.0, rate_sd=0.0, score_sd=0.917)


def test_all_rated_it_is_a_little_above_the_benchmarks_median():
    """By simulation, half of the equal candidates have passed after 1,050 to 1,150 users per arm."""
    expected = expected_length(TRAFFIC, SETTINGS)
    assert 2200 <= expected.users <= 2900
    assert expected.days == pytest.approx(expected.users / 1000)
    assert expected.binds == "the users' scores"


def test_where_few_are_rated_the_feedback_rates_take_longest():
    expected = expected_length(replace(TRAFFIC, rate_mean=0.2, rate_sd=0.4, score_sd=0.44, covariance=0.064), SETTINGS)
    assert expected.binds == "the feedback rates"
    assert 33_000 < expected.users < 50_000  # by simulation, half have passed after 3,350 rated of an arm's fifth


def test_a_small_share_takes_longer():
    smaller = expected_length(TRAFFIC, SETTINGS.model_copy(update={"share": 0.1}))
    assert smaller.users > 2 * expected_length(TRAFFIC, SETTINGS).users


def test_the_shortest_time_is_kept():
    expected = expected_length(TRAFFIC, SETTINGS.model_copy(update={"min_minutes": 14_400}))
    assert (expected.days, expected.binds) == (10, "the clock")


@pytest.mark.parametrize(
    "traffic",
    [
        replace(TRAFFIC, users_per_day=0),
        replace(TRAFFIC, rate_mean=0.0),
        replace(TRAFFIC, rate_mean=math.nan),
        replace(TRAFFIC, score_sd=math.nan),
    ],
)
def test_without_traffic_or_feedback_it_never_ends(traffic: Traffic):
    assert expected_length(traffic, SETTINGS).days == math.inf


def test_more_hostile_users_than_the_margin_allows_never_end():
    assert expected_length(TRAFFIC, SETTINGS.model_copy(update={"hostile_share": 0.2})).days == math.inf


def test_a_forecast_has_units_that_fit_and_no_names_of_the_code():
    canary = CanarySettings(max_hours=0.1)
    said = forecast(Expected(users=539, requests=6512, days=2.5, binds="the users' scores"), canary)
    assert "6,512 requests from 539 users, 2.5 days, more than its limit of 0.1 h." in said and "scores" not in said
    soon = forecast(Expected(users=20, requests=40, days=0.003, binds="the first look"), canary)
    assert "from 20 users, 4 minutes. A clear gain" in soon and "0.0" not in soon
