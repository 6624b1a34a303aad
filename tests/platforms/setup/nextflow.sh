#!/usr/bin/env bash
# Nextflow: the one on PATH where that is new enough, else version 25.04.4 put together from Maven Central.
#
# The usual launcher downloads from a host that a test machine may not reach; Maven Central holds the same classes.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

version=25.04.4

nextflow_jars() {
  mkdir -p "$1/bin" "$1/home"
  cat >"$1/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version>
  <dependencies>
    <!-- Maven Central has the language library of 25.04.0 only. -->
    <dependency><groupId>io.nextflow</groupId><artifactId>nf-lang</artifactId><version>25.04.0</version></dependency>
    <dependency><groupId>io.nextflow</groupId><artifactId>nextflow</artifactId><version>$version</version>
      <exclusions><exclusion><groupId>io.seqera</groupId><artifactId>lib-trace</artifactId></exclusion></exclusions></dependency>
  </dependencies>
</project>
POM
  (cd "$1" && nice -n 10 mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib -DincludeScope=runtime)
  cat >"$1/bin/nextflow" <<'LAUNCHER'
#!/bin/bash
here=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
opens=()
for package in java.lang java.io java.nio java.net java.util java.util.concurrent.locks java.util.concurrent.atomic \
  sun.nio.ch sun.nio.fs sun.net.www.protocol.http sun.net.www.protocol.https jdk.internal.misc java.util.regex; do
  opens+=("--add-opens=java.base/$package=ALL-UNNAMED")
done
# Two small machines' worth of memory is enough, and short runs gain nothing from the second compiler.
exec java -Xmx768m -XX:TieredStopAtLevel=1 "${opens[@]}" -cp "$here/lib/*" nextflow.cli.Launcher "$@"
LAUNCHER
  chmod 755 "$1/bin/nextflow"
}

if command -v nextflow >/dev/null && nextflow -version 2>/dev/null | grep -Eq 'version (2[6-9]|25\.(0[4-9]|1))'; then
  echo "SCCR_NEXTFLOW=$(command -v nextflow)"
else
  # procps: Nextflow measures its tasks with ps.
  debian_packages procps
  command -v java >/dev/null || debian_packages openjdk-17-jre-headless
  command -v mvn >/dev/null || debian_packages maven
  keep nextflow "$(key_of)" nextflow_jars
  echo "SCCR_NEXTFLOW=$kept/bin/nextflow"
fi
