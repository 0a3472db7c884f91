package org.lakepass.spark.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SettingsTest {
  private static Settings read(String... pairs) {
    Map<String, String> map = new HashMap<>();
    for (int i = 0; i < pairs.length; i += 2) {
      map.put(pairs[i], pairs[i + 1]);
    }
    map.putIfAbsent("fs.s3a.lakepass.url", "https://broker.test");
    return Settings.read("lake", map::get, map::get);
  }

  private static String refusal(String... pairs) {
    return assertThrows(IllegalArgumentException.class, () -> read(pairs)).getMessage();
  }

  @Test
  void defaults() throws LakepassException {
    Settings settings = read("fs.s3a.lakepass.token", "T");
    assertEquals("T", settings.token().read());
    assertNull(settings.scope());
    assertNull(settings.duration());
    assertEquals(Duration.ofSeconds(20), settings.pollInterval());
    assertTrue(settings.toString().contains("scope the broker's"), settings.toString());
    assertTrue(settings.howToLogIn().contains("fs.s3a.lakepass.login.url"), settings.howToLogIn());
  }

  @Test
  void aBucketsSettingsGoFirst() throws LakepassException {
    Settings settings = read(
        "fs.s3a.lakepass.token", "general", "fs.s3a.bucket.lake.lakepass.token", "lake's", "fs.s3a.bucket.other.lakepass.token", "other's",
        "fs.s3a.lakepass.scope", "granted", "fs.s3a.bucket.lake.lakepass.scope", "lake",
        "fs.s3a.lakepass.duration", "1h", "fs.s3a.bucket.lake.lakepass.duration", "15m",
        "fs.s3a.bucket.lake.lakepass.url", "https://lake.test/pass/");
    assertEquals("lake's", settings.token().read());
    assertEquals("lake", settings.scope());
    assertEquals(Duration.ofMinutes(15), settings.duration());
    assertEquals("https://lake.test/pass", settings.url().toString());
  }

  @Test
  void aBucketsTokenSourceGoesBeforeAGeneralOneOfAnotherKind() {
    Settings settings = read("fs.s3a.lakepass.token", "general", "fs.s3a.bucket.lake.lakepass.token.file", "/run/token");
    assertEquals(TokenSource.file("/run/token"), settings.token());
  }

  /** S3A copies a bucket's settings over the general ones before it makes providers. */
  @Test
  void theSameAfterS3aHasCopiedABucketsSettings() {
    Settings settings = read(
        "fs.s3a.lakepass.token", "general",
        "fs.s3a.lakepass.token.file", "/run/token", "fs.s3a.bucket.lake.lakepass.token.file", "/run/token");
    assertEquals(TokenSource.file("/run/token"), settings.token());
  }

  @Test
  void settingsThatDifferInAnythingAreNotEqual() {
    Settings one = read("fs.s3a.lakepass.token", "T");
    assertEquals(one, read("fs.s3a.lakepass.token", "T"));
    assertEquals(one.hashCode(), read("fs.s3a.lakepass.token", "T").hashCode());
    for (String[] other : new String[][] {
      {"token", "U"}, {"url", "https://other.test"}, {"scope", "lake"}, {"duration", "900"}, {"poll.interval", "5"},
      {"login.url", "https://login.test"}
    }) {
      String token = other[0].equals("token") ? other[1] : "T";
      assertNotEquals(one, read("fs.s3a.lakepass.token", token, "fs.s3a.lakepass." + other[0], other[1]), other[0]);
    }
    assertNotEquals(TokenSource.file("T"), TokenSource.literal("T"));
    assertNotEquals(TokenSource.file("T"), TokenSource.environment("T"));
  }

  @Test
  void nothingShowsTheToken() {
    Settings settings = read("fs.s3a.lakepass.token", "TOKEN-that-must-not-show");
    assertFalse((settings.toString() + settings.token()).contains("TOKEN-that"));
    assertTrue(settings.toString().contains("fs.s3a.lakepass.token"));
  }

  @Test
  void whatIsMissingIsNamed() {
    assertTrue(refusal().contains("fs.s3a.lakepass.token.file"));
    Map<String, String> none = Map.of();
    String message = assertThrows(IllegalArgumentException.class, () -> Settings.read("lake", none::get, none::get)).getMessage();
    assertTrue(message.contains("fs.s3a.lakepass.url"));
  }

  @Test
  void twoTokensAreRefusedWithoutShowingThem() {
    String message = refusal("fs.s3a.lakepass.token", "TOKEN-that-must-not-show", "fs.s3a.lakepass.token.env", "LAKEPASS_TOKEN");
    assertTrue(message.contains("only one"));
    assertFalse(message.contains("TOKEN-that"));
  }

  @ParameterizedTest
  @ValueSource(strings = {
    "broker.test", "ftp://broker.test", "https://", "https://user:PASSWORD@broker.test", "https://broker.test?x=PASSWORD",
    "https://broker.test/#x", "https://bro ker.test/PASSWORD"
  })
  void addressesThatAreNone(String url) {
    String message = refusal("fs.s3a.lakepass.url", url, "fs.s3a.lakepass.token", "T");
    assertTrue(message.contains("fs.s3a.lakepass.url"));
    assertFalse(message.contains("PASSWORD"));
  }

  @ParameterizedTest
  @CsvSource({"900,900", "900s,900", "15m,900", "2h,7200", "60 m,3600"})
  void durations(String text, long seconds) {
    assertEquals(Duration.ofSeconds(seconds), read("fs.s3a.lakepass.token", "T", "fs.s3a.lakepass.duration", text).duration());
  }

  @ParameterizedTest
  @ValueSource(strings = {"899", "0", "-1", "1d", "an hour", "9999999999999999999", "999999999h"})
  void durationsThatAreNone(String text) {
    assertTrue(refusal("fs.s3a.lakepass.token", "T", "fs.s3a.lakepass.duration", text).contains("fs.s3a.lakepass.duration"));
  }

  @ParameterizedTest
  @CsvSource({"https://broker.test,false", "http://127.0.0.1:8080,false", "http://localhost,false", "http://[::1]:1,false", "http://broker.test,true"})
  void whenTheTokenGoesInTheClear(String url, boolean clear) {
    assertEquals(clear, read("fs.s3a.lakepass.url", url, "fs.s3a.lakepass.token", "T").sendsTokenInTheClear());
  }
}
