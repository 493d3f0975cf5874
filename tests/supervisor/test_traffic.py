from mocker.supervisor.traffic import Traffic


def test_the_more_have_much_to_say_the_less_of_it_is_read_at_a_time() -> None:
    traffic = Traffic()

    sizes = []
    for traffic.floods in (0, 1, 32, 64, 1000):
        sizes.append(traffic.most_read)
    traffic.add(0, 2**30)

    assert sizes == [2**18, 2**18, 2**18, 2**17, 2**14]
    assert traffic.most_read == 2**12
